"""Workers: a process that lives as long as a command, or one that serves a cluster.

Threads, not processes: a step waits for ssh nearly all its time, and threads
share the process's connections.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.log import configure_log
from tasks.app import make_app
from tasks.broker import check_broker, open_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 5.0

# What a worker chats with others about costs seconds at its start, and nothing
# here listens.
_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


ALL_QUEUES = (
    "deploy",
    *(
        f"build.{system}{feature}"
        for system in ("x86_64-linux", "aarch64-linux")
        for feature in ("", ".cuda", ".rocm")
    ),
)
"""Every queue there is; a private worker serves them all."""


def serve(queues: Sequence[str], broker: str, concurrency: int) -> None:
    """Serve queues until interrupted; a running step is finished first.

    Raises:
        UsageError: the broker can't be used.
    """
    check_broker(open_client(broker))
    app = make_app(broker)
    app.worker_main(
        [
            "worker",
            "--pool=threads",
            f"--concurrency={concurrency}",
            f"--queues={','.join(queues)}",
            "--loglevel=WARNING",
            *_QUIET,
        ]
    )


@contextmanager
def worker_process(concurrency: int, broker: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have a worker of every queue beside us for the time of the context.

    It dies with this process, however that ends. What it prints goes to `log`.
    """
    arguments = [broker, str(concurrency), str(log), str(os.getpid())]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.worker", *arguments],
            stdin=subprocess.DEVNULL,
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


def _die_with(parent: int) -> None:
    """Be killed when the parent dies (prctl(2)); it may have died before we asked."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def main() -> None:
    """Serve as the child that `worker_process` starts."""
    broker, concurrency, log, parent = sys.argv[1:]
    _die_with(int(parent))
    configure_log(Path(log).with_suffix(".jsonl"))
    serve(ALL_QUEUES, broker, int(concurrency))


if __name__ == "__main__":
    main()
