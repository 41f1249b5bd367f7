"""A command's own worker, which is started again when it dies, some times.

A step that takes its worker with it (memory is the usual cause) is given up by
the driver after three; the rest of the run needs one that lives.
"""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import RunInterruptedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from orchestrator.cli.invocation import Invocation

    Start = Callable[[], AbstractContextManager[subprocess.Popen[bytes]]]
    Watch = Callable[[], dict[str, Any] | None]

RESTARTS = 5
"""How often a command starts its worker again; beyond that something is wrong with it."""

_LAST_LINES = 10


def worker_log(invocation: Invocation) -> Path:
    """Name the file that the command's own worker writes to."""
    return invocation.workspace.directory / "worker.log"


@contextmanager
def kept_worker(start: Start, log: Path) -> Iterator[Watch]:
    """Have a worker for the time of the context.

    Args:
        start: starts it, as a context that ends it.
        log: the file that it appends to.

    Yields:
        What to call now and then: it starts a worker that has died again, and
        gives what to tell of that, else None. It raises `RunInterruptedError`
        where it has done so too often.
    """
    with ExitStack() as stack:
        said = _size(log)
        yield _Kept(stack, start, log, stack.enter_context(start()), said).look_after


@dataclass(slots=True)
class _Kept:
    """The worker as it is now; `said` is how long its log was when it was started."""

    stack: ExitStack
    start: Start
    log: Path
    process: subprocess.Popen[bytes]
    said: int
    restarts: int = 0

    def look_after(self) -> dict[str, Any] | None:
        status = self.process.poll()
        if status is None:
            return None
        ended = f"the worker process {_end_of(status)}"
        lines = tuple(_text_from(self.log, self.said).splitlines()[-_LAST_LINES:])
        if self.restarts == RESTARTS:
            message = f"{ended}, as {RESTARTS} before it"
            raise RunInterruptedError(message, last_lines=lines, hint=f"its log is {self.log}")
        self.restarts += 1
        self.stack.close()
        self.said = _size(self.log)
        self.process = self.stack.enter_context(self.start())
        message = f"{ended} and is started again ({self.restarts} of {RESTARTS} times)"
        return {"message": message, "last_lines": lines, "hint": f"its log is {self.log}"}


def _end_of(status: int) -> str:
    """Say how a process ended; `status` is negative where a signal ended it."""
    return (
        f"was killed by {signal.Signals(-status).name}"
        if status < 0
        else f"ended with exit status {status}"
    )


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _text_from(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")
