"""A worker as a process of its own, with the settings that a test gives it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orchestrator.log import configure_log
from tasks.settings import WorkerSettings
from tasks.worker import serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def worker_process(
    concurrency: int, broker: str, log: Path, settings: WorkerSettings, queues: Sequence[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Have a worker for the time of the context; what it prints goes to `log`."""
    given = msgspec.json.encode(settings).decode()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, broker, str(concurrency), str(log), given, *queues],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    """Serve as the process that `worker_process` starts."""
    broker, concurrency, log, settings, *queues = sys.argv[1:]
    configure_log(Path(log).with_suffix(".jsonl"))
    given = msgspec.json.decode(settings, type=WorkerSettings)
    sys.exit(serve(queues, broker, int(concurrency), given))


if __name__ == "__main__":
    main()
