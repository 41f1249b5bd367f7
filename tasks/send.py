"""Bring a step to a worker."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tasks.app import STEP_TASK, make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.model.journal import StepKey


@contextmanager
def sender(broker: str) -> Iterator[Callable[[str, str, StepKey, int], None]]:
    """Return the function that sends: queue, run, step, fencing token."""
    app = make_app(broker)

    def send(queue: str, run: str, key: StepKey, token: int) -> None:
        app.send_task(STEP_TASK, args=(run, str(key), token), queue=queue)

    try:
        yield send
    finally:
        app.close()
