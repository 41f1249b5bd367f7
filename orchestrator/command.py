"""The one choke point for commands: argv in, result out, quoted once.

Every process this program starts, here or on a host, is a `Command`. Only
`Command.line` makes a shell line of it; nothing else in the project quotes.
Secrets travel on stdin, which no message ever shows.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.errors import CommandError
from orchestrator.hints import hint_for

if TYPE_CHECKING:
    from collections.abc import Iterable

LAST_LINES = 15
"""How many lines of a failed command's output a report carries."""

_MAX_LINE = 500


@dataclass(frozen=True, slots=True)
class Command:
    """An argument vector with what it reads.

    Args:
        argv: program and arguments, unquoted.
        stdin: bytes for its standard input; never shown.
        timeout: seconds until it is killed; None for no limit.
        environment: variables added to the environment of the process.
    """

    argv: tuple[str, ...]
    stdin: bytes | None = field(default=None, repr=False)
    timeout: float | None = None
    environment: tuple[tuple[str, str], ...] = ()

    def with_lines(self, lines: Iterable[str]) -> Command:
        """Have it read these lines on its standard input.

        Store paths go this way: one argument of a remote command line holds no more
        than 128 KiB (execve(2), MAX_ARG_STRLEN), and a system's closure is larger.
        """
        return replace(self, stdin="".join(f"{line}\n" for line in lines).encode())

    def line(self) -> str:
        """Render as one line that a POSIX shell reads back as this very argv."""
        return shlex.join(self.words())

    def words(self) -> tuple[str, ...]:
        """Return the argument vector with the environment in front of it, by env(1)."""
        assignments = tuple(f"{name}={value}" for name, value in self.environment)
        return ("env", *assignments, *self.argv) if assignments else self.argv


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended, and everything it printed."""

    command: Command
    host: str
    returncode: int
    stdout: str
    stderr: str

    def check(self, stage: str, message: str = "") -> CommandResult:
        """Return the result itself when the command succeeded.

        Raises:
            CommandError: the exit code is not zero.
        """
        if self.returncode == 0:
            return self
        raise self.failure(stage, message)

    def failure(self, stage: str, message: str = "") -> CommandError:
        """Make the error that tells of this result."""
        said = message or f"{self.command.argv[0]} failed"
        output = self.stderr if self.stderr.strip() else self.stdout
        return CommandError(
            message=f"{said} (exit code {self.returncode})",
            hint=hint_for(output),
            host=self.host,
            stage=stage,
            command=self.command.line(),
            last_lines=last_lines(output),
        )


def last_lines(text: str, count: int = LAST_LINES) -> tuple[str, ...]:
    """Return the end of some output, safe for a terminal and bounded in size."""
    lines = [line for line in text.splitlines() if line.strip()]
    return tuple(printable(line) for line in lines[-count:])


def printable(line: str) -> str:
    """Escape what could move a terminal's cursor, and cut what is too long."""
    shown = "".join(
        char if char.isprintable() or char == "\t" else repr(char)[1:-1] for char in line
    )
    return shown if len(shown) <= _MAX_LINE else shown[:_MAX_LINE] + "…"
