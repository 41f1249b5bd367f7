"""What can go wrong, as data: which host, which stage, what happened, what to do next.

A leaf: it imports nothing of this project, so that every layer can raise these.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class FailureKind(StrEnum):
    """What a failure says of its host beside that something went wrong.

    `unreachable`: it could not be connected to, so nothing was done to it.
    `rebooted`: it has booted its new system and runs it; a check of that fails.
    """

    FAILED = "failed"
    UNREACHABLE = "unreachable"
    REBOOTED = "rebooted"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is kept and passed on: in a plan, a journal, an event, a result.

    The fields are those of `OrchestrateError`.
    """

    message: str
    hint: str = ""
    host: str = ""
    stage: str = ""
    command: str = ""
    last_lines: tuple[str, ...] = ()
    kind: FailureKind = FailureKind.FAILED

    @property
    def place(self) -> str:
        """Where it happened: host and stage, as far as they are known."""
        return ": ".join(part for part in (self.host, self.stage) if part)

    @property
    def details(self) -> tuple[str, ...]:
        """What belongs to the message: command, last lines, hint, each a line."""
        return (
            *((f"command: {self.command}",) if self.command else ()),
            *(f"| {line}" for line in self.last_lines),
            *((f"next: {self.hint}",) if self.hint else ()),
        )

    def __str__(self) -> str:
        """Return the whole report: place, message, command, last lines, hint."""
        first = f"{self.place}: {self.message}" if self.place else self.message
        return "\n".join((first, *(f"  {line}" for line in self.details)))


@dataclass(eq=False)
class OrchestrateError(Exception):
    """Anything this program reports to its user instead of a traceback.

    Args:
        message: what happened, one sentence without a full stop.
        hint: what the user can do next; empty if nothing is known.
        host: the inventory name of the host, empty for fleet-wide failures.
        stage: the stage's name as in `orchestrator/model/stage.py`, empty before any.
        command: the failed command as one line that can be pasted into a shell.
        last_lines: the end of what that command printed.

    Not frozen: Python itself assigns `__traceback__` and `__cause__`.
    """

    message: str
    hint: str = ""
    host: str = ""
    stage: str = ""
    command: str = ""
    last_lines: tuple[str, ...] = ()

    exit_code: ClassVar[int] = 2
    kind: ClassVar[FailureKind] = FailureKind.FAILED

    @property
    def failure(self) -> Failure:
        """This error as data."""
        return Failure(
            message=self.message,
            hint=self.hint,
            host=self.host,
            stage=self.stage,
            command=self.command,
            last_lines=self.last_lines,
            kind=self.kind,
        )

    def __str__(self) -> str:
        """Return the whole report: place, message, command, last lines, hint."""
        return str(self.failure)


class UsageError(OrchestrateError):
    """The command line or the configuration is wrong; nothing was touched."""


class InventoryError(OrchestrateError):
    """The inventory can't be read or contradicts itself; nothing was touched."""


class PlanError(OrchestrateError):
    """No plan satisfies the fleet: a blocked pin, no builder that fits."""


class PayloadError(OrchestrateError):
    """Something read back (Redis, a host's output, a file) is not what it must be."""


class RunInterruptedError(OrchestrateError):
    """A run stopped before its end; its journal knows how to go on."""

    exit_code: ClassVar[int] = 4


class StageError(OrchestrateError):
    """A stage failed on one host; the others go on."""

    exit_code: ClassVar[int] = 3


class UnreachableError(StageError):
    """The host could not be connected to; nothing was done to it."""

    kind: ClassVar[FailureKind] = FailureKind.UNREACHABLE


class RebootedError(StageError):
    """The host has booted its new system and runs it, and a check of it fails."""

    kind: ClassVar[FailureKind] = FailureKind.REBOOTED


class BuilderError(StageError):
    """A builder can't do its work; another one may."""


class CommandError(StageError):
    """A command ended with a non-zero exit code."""
