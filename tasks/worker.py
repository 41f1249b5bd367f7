"""Workers: a thread of the command that has work for it, or a process that serves a cluster.

A step waits for ssh nearly all its time: each is a thread, and all of them share
the process's connections, with a command's own look at its hosts before them.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from importlib.metadata import version
from socket import gethostname
from typing import TYPE_CHECKING, Any

from celery.app.trace import setup_worker_optimizations
from celery.worker import state as celery_state

from orchestrator.deploy.perform.runtime import process_runtime
from orchestrator.errors import RunInterruptedError
from orchestrator.model.cluster import Worker
from orchestrator.model.queue import QUEUES
from orchestrator.state.workers import Cluster, check_timeouts
from tasks.app import make_app
from tasks.broker import check_broker, open_client
from tasks.registration import process_registration
from tasks.settings import WorkerSettings
from tasks.steps import load_performer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

CONCURRENCY = 16
"""Steps that a command's own worker does at a time: they wait for hosts, not for us."""

_STOP_SECONDS = 5.0
"""How long an interrupted command waits for the steps that its worker is at."""

# What a worker chats with others about costs seconds at its start, and nothing
# here listens. Its banner would hide what it says at its end.
_QUIET = {
    "quiet": True,
    "without_gossip": True,
    "without_mingle": True,
    "without_heartbeat": True,
}


_CELERY: Any = celery_state
"""What Celery's workers of this process look at, to see whether they are to stop."""


def serve(
    queues: Sequence[str],
    broker: str,
    concurrency: int,
    settings: WorkerSettings = WorkerSettings(),  # noqa: B008 - frozen
) -> int:
    """Serve queues until interrupted; a running step is finished first.

    Returns the exit status: 0 if it was told to stop. Celery's own command line
    ends with 0 whatever happened, and no service manager would restart it.

    Raises:
        UsageError: the broker can't be used, or not beside its other workers.
    """
    check_broker(open_client(broker))
    load_performer(settings.performer)
    worker, wake = _made(make_app(broker, settings).Worker, queues, concurrency)
    signal.set_wakeup_fd(wake)
    with _shown(broker, queues, concurrency, settings):
        worker.start()
    process_runtime().close()
    return int(worker.exitcode or 0)


@contextmanager
def own_worker(
    broker: str,
    log: Path,
    settings: WorkerSettings = WorkerSettings(),  # noqa: B008 - frozen
) -> Iterator[Callable[[], None]]:
    """Provide a worker of all queues on a thread of this process for the time of the context.

    Steps that run then, of other commands on the same server, have some seconds to
    end. Without any it is not waited for: what it may take in its last moment is sent
    again once it is missed.

    Args:
        broker: the broker's URL.
        log: this process's log, which says why the worker has ended.
        settings: what it does with a step.

    Yields:
        What to call now and then: it raises `RunInterruptedError` if the worker
        has ended.
    """
    app = make_app(broker, settings)
    # What Celery's own program does: its tasks belong to this application, on whatever thread.
    setup_worker_optimizations(app)
    worker, wake = _made(app.WorkController, QUEUES, CONCURRENCY)
    thread = threading.Thread(target=worker.start, daemon=True, name="worker")

    def check() -> None:
        if not thread.is_alive():
            message = "the worker of this command has ended"
            raise RunInterruptedError(message, hint=f"its log is {log}")

    with _shown(broker, QUEUES, CONCURRENCY, settings):
        _CELERY.should_stop = None
        thread.start()
        try:
            yield check
        finally:
            _CELERY.should_stop = 0
            os.write(wake, b"\0")
            if process_registration().is_busy:
                thread.join(_STOP_SECONDS)


def _made(make: Any, queues: Sequence[str], concurrency: int) -> tuple[Any, int]:  # noqa: ANN401 - untyped in Celery
    """Make a worker, and a file descriptor that, written to, ends its wait for a message.

    Otherwise it would notice a stop only at the next message, or after a second.
    """
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def listen(consumer: Any) -> None:  # noqa: ANN401 - untyped in Celery
        consumer.hub.add_reader(read, os.read, read, 1)

    worker = make(
        pool="threads", concurrency=concurrency, queues=queues, ready_callback=listen, **_QUIET
    )
    return worker, write


@contextmanager
def _shown(
    broker: str, queues: Sequence[str], concurrency: int, settings: WorkerSettings
) -> Iterator[None]:
    """Show this process as a worker for the time of the context.

    Raises:
        UsageError: its visibility timeout isn't that of the other workers.
    """
    cluster = Cluster(open_client(broker))
    shown = Worker(
        name=f"{gethostname()}:{os.getpid()}",
        version=version("orchestrate"),
        queues=tuple(queues),
        concurrency=concurrency,
        visibility_timeout=settings.visibility_timeout,
        started_at=cluster.now(),
    )
    with process_registration().shown(cluster, shown):
        # Shown first: of two that start at once and differ, one sees the other.
        others = [other for other in cluster.workers() if other.name != shown.name]
        check_timeouts(settings.visibility_timeout, settings.longest_step, others)
        yield
