"""The one task: what Celery delivers, brought to the worker's part in a step."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING

import structlog
from celery import Task, shared_task

from orchestrator.deploy.perform.step import carry_out, claim
from orchestrator.errors import PayloadError
from orchestrator.model.cluster import Work
from orchestrator.model.event import MessageRefused, event_now
from orchestrator.state.journal import Journal, parse_step_key
from tasks.app import STEP_TASK
from tasks.broker import open_client
from tasks.registration import process_registration

if TYPE_CHECKING:
    import redis

    from orchestrator.deploy.perform.step import Perform
    from orchestrator.model.journal import StepKey

log = structlog.get_logger()


@shared_task(name=STEP_TASK, bind=True)
def step(self: Task[..., None], *message: object) -> None:
    """Claim a step and do it; a stale token or a second delivery ends at once.

    Args:
        self: the task, for the application's settings.
        message: the run's id, the step as `StepKey` writes itself, the fencing
            token that it was sent with.
    """
    client = open_client(self.app.conf.broker_url)
    try:
        run, key, token = parse_message(message)
    except PayloadError as error:
        _refuse(client, message, error)
        return
    journal = Journal(client, run, self.app.conf.orchestrate_lease_seconds)
    if not claim(journal, key, token):
        return
    perform = load_performer(self.app.conf.orchestrate_performer)
    work = Work(run, key.step.value, key.subject, journal.now())
    with (
        process_registration().busy(work),
        structlog.contextvars.bound_contextvars(run=run, stage=key.step),
    ):
        carry_out(journal, key, token, perform)


def parse_message(message: tuple[object, ...]) -> tuple[str, StepKey, int]:
    """Read what a driver sent: run, step, fencing token.

    Raises:
        PayloadError: it is anything else.
    """
    match message:
        case (str(run), str(key), int(token)):
            return run, parse_step_key(key), token
    text = f"expected run, step and token, found {repr(message)[:120]}"
    raise PayloadError(text, hint="is there a worker of another version on this broker?")


def _refuse(client: redis.Redis, message: tuple[object, ...], error: PayloadError) -> None:
    """Drop a message for good, and say so in the log and to the run it names."""
    log.error("message refused", **asdict(error.failure))
    if message and isinstance(message[0], str):
        run = message[0]
        Journal(client, run).emit(event_now(run, "", "", MessageRefused(error.failure)))


def load_performer(path: str) -> Perform:
    """Import the function that does a step, from `module:name`."""
    module, _, name = path.partition(":")
    found: Perform = getattr(import_module(module), name)
    return found
