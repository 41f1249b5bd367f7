"""A worker beside a command: a child process that dies with it.

It takes most of a second to import Celery; so nothing here does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from orchestrator.model.queue import QUEUES
from tasks.settings import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

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
    """Have a worker of all these queues beside us for the time of the context.

    It dies with this process, however that ends. What it prints goes to `log`. A
    password that the user typed is handed over by a pipe, its standard input.
    """
    given = msgspec.json.encode(settings).decode()
    arguments = [broker, str(concurrency), str(log), str(os.getpid()), given, *queues]
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.worker", *arguments],
            stdin=subprocess.DEVNULL if password is None else subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    if process.stdin is not None:
        # One that has died already says why in its log.
        with suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write((password or "").encode())
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
