"""Workers: a process that lives as long as a command, or one that serves a cluster.

Threads, not processes: a step waits for ssh nearly all its time, and threads
share the process's connections.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

import msgspec
from celery.signals import worker_ready

from orchestrator.deploy.cluster import Cluster, check_timeouts
from orchestrator.log import configure_log
from orchestrator.model.cluster import Worker
from orchestrator.transport.become import remember_typed
from tasks.app import make_app
from tasks.broker import check_broker, open_client
from tasks.presence import process_presence
from tasks.settings import Place, WorkerSettings
from tasks.steps import load_performer

if TYPE_CHECKING:
    from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1

# What a worker chats with others about costs seconds at its start, and nothing
# here listens. Its banner would hide what it says at its end.
_QUIET = {
    "quiet": True,
    "without_gossip": True,
    "without_mingle": True,
    "without_heartbeat": True,
}


def serve(
    queues: Sequence[str],
    broker: str,
    concurrency: int,
    settings: WorkerSettings = WorkerSettings(),  # noqa: B008 - frozen
) -> int:
    """Serve queues until interrupted; a running step is finished first.

    Gives the exit status: 0 where it was told to stop. Celery's own command line
    ends with 0 whatever happened, and no service manager would restart it.

    Raises:
        UsageError: the broker can't be used, or not beside its other workers.
    """
    client = open_client(broker)
    check_broker(client)
    # What the first step would import, while nobody waits for it.
    load_performer(settings.performer)
    app = make_app(broker, settings)
    make_worker: Any = app.Worker
    worker = make_worker(
        pool="threads", concurrency=concurrency, queues=queues, loglevel="WARNING", **_QUIET
    )
    cluster = Cluster(client)
    shown = Worker(
        name=f"{gethostname()}:{os.getpid()}",
        version=version("orchestrate"),
        queues=tuple(queues),
        concurrency=concurrency,
        visibility_timeout=settings.visibility_timeout,
        started_at=cluster.now(),
    )
    with process_presence().shown(cluster, shown):
        # Shown first: of two that start at once and differ, one sees the other.
        others = [other for other in cluster.workers() if other.name != shown.name]
        check_timeouts(settings.visibility_timeout, settings.longest_step, others)
        worker.start()
    return int(worker.exitcode or 0)


def _die_with(parent: int) -> None:
    """Be killed when the parent dies (prctl(2)); it may have died before we asked."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


@worker_ready.connect
def _wake_on_signals(sender: Any, **_: object) -> None:  # noqa: ANN401 - untyped in Celery
    """Let a signal end the wait for the next message, which else lasts a second."""
    hub = sender.controller.hub
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    hub.add_reader(read, os.read, read, 1)
    signal.set_wakeup_fd(write)


def main() -> None:
    """Serve as the child that `worker_process` starts."""
    concurrency, log, parent, settings, *queues = sys.argv[1:]
    _die_with(int(parent))
    configure_log(Path(log).with_suffix(".jsonl"))
    given = msgspec.json.decode(settings, type=WorkerSettings)
    # What the first step would import, while nobody waits for it.
    load_performer(given.performer)
    # Ends without a word where there is no work in the end.
    place = msgspec.json.decode(sys.stdin.buffer.read() or sys.exit(0), type=Place)
    if place.password:
        remember_typed(place.password)
    status = serve(queues, place.broker, int(concurrency), given)
    # All is closed; taking the interpreter apart is a quarter of a second that the
    # user would wait for.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
