"""The Celery application: its settings close the traps of Celery on Redis.

Sources: Celery's "Using Redis", "Visibility timeout" and "Optimizing"; the
measurements are in docs/engine.md.
"""

from __future__ import annotations

from celery import Celery
from celery.signals import worker_process_shutdown, worker_shutdown

from orchestrator.deploy.runtime import process_runtime

STEP_TASK = "orchestrate.step"

VISIBILITY_TIMEOUT_SECONDS = 24 * 3600
"""Longer than any step: a message that isn't acknowledged by then runs again.

The fencing token makes a second delivery harmless; this makes it rare.
"""


def make_app(broker: str) -> Celery:
    """Make the application for one broker.

    Args:
        broker: a URL as Celery takes it, `redis+socket:///path?virtual_host=0`
            for a unix socket.
    """
    app = Celery("orchestrate", broker=broker, include=["tasks.steps"])
    app.conf.update(
        # A worker that dies gives its message back; the journal's token decides
        # whether the step is begun again.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        broker_transport_options={"visibility_timeout": VISIBILITY_TIMEOUT_SECONDS},
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


def _close_runtime(**_: object) -> None:
    process_runtime().close()


worker_shutdown.connect(_close_runtime)
worker_process_shutdown.connect(_close_runtime)
