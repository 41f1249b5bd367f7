"""How the lab runs commands: one place that says well what failed."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GUEST = Path(__file__).parent / "guest"
REPOSITORY = Path(__file__).parents[2]


class LabError(Exception):
    """The lab itself can't do what was asked; not a finding about the product."""


class CommandFailedError(LabError):
    """A command that the lab ran ended with a failure; it carries the whole result."""

    def __init__(self, completed: subprocess.CompletedProcess[str]) -> None:
        """Keep the result and show it: command, exit status, what was printed."""
        self.completed = completed
        printed = f"{completed.stdout or ''}{completed.stderr or ''}".strip()
        command = shlex.join(str(part) for part in completed.args)
        super().__init__(f"exit {completed.returncode} from: {command}\n{printed}")


def run(  # noqa: PLR0913 - the options of a child process
    argv: Sequence[str | Path],
    *,
    check: bool = True,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = 300,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with what it prints captured."""
    completed = subprocess.run(
        [str(part) for part in argv],
        check=False,
        input=stdin,
        env=env,
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if check and completed.returncode != 0:
        raise CommandFailedError(completed)
    return completed
