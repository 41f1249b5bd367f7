"""The Celery application: its settings close the traps of Celery on Redis.

Sources: Celery's "Using Redis", "Visibility timeout" and "Optimizing"; the
measurements are in docs/engine.md.
"""

from __future__ import annotations

from celery import Celery

from tasks.kombu_transport import register_transport
from tasks.settings import WorkerSettings

STEP_TASK = "orchestrate.step"

UNACKED = "orchestrate:unacked"
"""The hash of the messages that workers have taken and not yet acknowledged."""

_POLL_SECONDS = 0.2
"""How long one wait for a message lasts; a worker that stops waits for its end."""


def make_app(broker: str, settings: WorkerSettings = WorkerSettings()) -> Celery:  # noqa: B008 - frozen
    """Make the application for one broker.

    Args:
        broker: a URL as Celery takes it, `redis+socket:///path?virtual_host=0`
            for a unix socket.
        settings: what its tasks read from its configuration.
    """
    register_transport()
    app = Celery("orchestrate", broker=broker, include=[f"{__package__}.steps"])
    app.conf.update(
        # A worker that dies gives its message back; the journal's token decides
        # whether the step is begun again.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout,
            "polling_interval": _POLL_SECONDS,
            "unacked_restore_interval": settings.restore_interval,
            "unacked_restore_throttle": 1,
            # Of our own, so that the timeout of another Celery application on
            # this server applies to none of our messages.
            "unacked_key": UNACKED,
            "unacked_index_key": f"{UNACKED}:index",
            "unacked_mutex_key": f"{UNACKED}:mutex",
        },
        orchestrate_performer=settings.performer,
        orchestrate_lease_seconds=settings.lease_seconds,
        broker_connection_retry_on_startup=True,
        # Reports are in the journal: nothing is kept a second time.
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_create_missing_queues=True,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
    )
    return app
