"""A worker beside a command: a child process that dies with it.

It takes half a second to import Celery and the rest; so nothing here does, and a
worker is started before the server that it is for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from orchestrator.model.queue import QUEUES
from tasks.settings import Place, WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CONCURRENCY = 16
"""Steps that a command's own worker does at a time: they wait for hosts, not for us."""

_STOP_SECONDS = 5.0


@contextmanager
def worker_process(  # noqa: PLR0913 - the options of a child process
    concurrency: int,
    broker: str,
    log: Path,
    settings: WorkerSettings = WorkerSettings(),  # noqa: B008 - frozen
    queues: Sequence[str] = QUEUES,
    *,
    password: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Have a worker of all these queues beside us for the time of the context."""
    with waiting_worker(concurrency, log, settings, queues) as process:
        put_to_work(process, broker, password)
        yield process


@dataclass(frozen=True, slots=True)
class EarlyWorker:
    """A worker that was started before its server; `end` ends it, unless it was put to work."""

    process: subprocess.Popen[bytes]
    end: ExitStack

    @contextmanager
    def put_to_work(self, broker: str, password: str | None) -> Iterator[subprocess.Popen[bytes]]:
        """Have it work for this broker for the time of the context, which ends it."""
        with self.end.pop_all():
            put_to_work(self.process, broker, password)
            yield self.process


@contextmanager
def early_worker(concurrency: int, log: Path) -> Iterator[EarlyWorker]:
    """Have a waiting worker until it is put to work, or to the end of the context."""
    with ExitStack() as end:
        yield EarlyWorker(end.enter_context(waiting_worker(concurrency, log)), end)


@contextmanager
def waiting_worker(
    concurrency: int,
    log: Path,
    settings: WorkerSettings = WorkerSettings(),  # noqa: B008 - frozen
    queues: Sequence[str] = QUEUES,
) -> Iterator[subprocess.Popen[bytes]]:
    """Have a worker that imports what it needs, and waits to be put to work.

    It dies with this process, however that ends. What it prints goes to `log`.
    """
    given = msgspec.json.encode(settings).decode()
    arguments = [str(concurrency), str(log), str(os.getpid()), given, *queues]
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def put_to_work(process: subprocess.Popen[bytes], broker: str, password: str | None) -> None:
    """Tell a waiting worker its broker, and what the user typed, by a pipe: its standard input."""
    # One that has died already says why in its log.
    assert process.stdin is not None  # noqa: S101 - started with PIPE above
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(msgspec.json.encode(Place(broker, password)))
