"""What can go wrong, as data: which host, which stage, what happened, what to do next.

A leaf: it imports nothing of this project, so that every layer can raise these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(eq=False)
class OrchestrateError(Exception):
    """Anything this program reports to its user instead of a traceback.

    Args:
        message: what happened, one sentence without a full stop.
        hint: what the user can do next; empty where nothing is known.
        host: the inventory name of the host, empty for fleet-wide failures.
        stage: the stage's name as in `orchestrator/stages/`, empty before any.
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

    def as_data(self) -> dict[str, Any]:
        """Give what an event or a journal entry carries of this error, as JSON."""
        return {
            "message": self.message,
            "hint": self.hint,
            "command": self.command,
            "last_lines": list(self.last_lines),
        }

    def __str__(self) -> str:
        """Give the whole report: place, message, command, last lines, hint."""
        place = ": ".join(part for part in (self.host, self.stage) if part)
        lines = [f"{place}: {self.message}" if place else self.message]
        if self.command:
            lines.append(f"  command: {self.command}")
        lines.extend(f"  | {line}" for line in self.last_lines)
        if self.hint:
            lines.append(f"  next: {self.hint}")
        return "\n".join(lines)


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

    def as_data(self) -> dict[str, Any]:
        """Name the host besides, for whoever counts those apart."""
        return {**super().as_data(), "unreachable": self.host}


class RebootedError(StageError):
    """The host has booted its new system and runs it, and a check of it fails."""

    def as_data(self) -> dict[str, Any]:
        """Name the host besides, for whoever says what it runs."""
        return {**super().as_data(), "rebooted": self.host}


class BuilderError(StageError):
    """A builder can't do its work; another one may."""


class CommandError(StageError):
    """A command ended with a non-zero exit code."""
