"""The one task: do a journaled step, if its token is still the current one."""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
import redis
import structlog
from celery import Task, shared_task

from orchestrator.deploy.step_events import host_of, step_event
from orchestrator.errors import OrchestrateError, PayloadError
from orchestrator.model.cluster import Work
from orchestrator.model.event import Event
from orchestrator.model.journal import Step, StepKey
from orchestrator.state.host_locks import HostLocks
from orchestrator.state.journal import Journal, parse_step_key
from orchestrator.state.lease import beating
from tasks.app import STEP_TASK
from tasks.broker import open_client
from tasks.registration import process_registration

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from orchestrator.model.plan import Plan

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
    if key.step.needs_lock and not HostLocks(journal).renew(key.subject):
        log.warning("its host's lock was lost to another run", run=run, step=str(key))
        return
    if not journal.claim(key, token):
        log.info("message dropped", run=run, step=str(key), why="old, or begun already")
        return
    perform = load_performer(self.app.conf.orchestrate_performer)
    work = Work(run, key.step.value, key.subject, journal.now())
    with (
        process_registration().busy(work),
        structlog.contextvars.bound_contextvars(run=run, stage=key.step),
    ):
        _do(journal, key, token, perform)


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
    log.error("message refused", **error.as_data())
    if message and isinstance(message[0], str):
        run = message[0]
        event = Event(time.time(), run, "", "", "message_refused", error.as_data())
        Journal(client, run).emit(event)


def _do(
    journal: Journal, key: StepKey, token: int, perform: Callable[[Journal, Plan, StepKey], Any]
) -> None:
    try:
        plan = journal.plan()
        host = host_of(plan, key)
        _tell(journal, host, key, "stage_started")
        with _alive(journal, key, token), structlog.contextvars.bound_contextvars(host=host):
            report = msgspec.to_builtins(perform(journal, plan, key))
    except OrchestrateError as error:
        _fail(journal, key, token, error)
    except redis.RedisError:
        # Says nothing of the step: its lease ends, and the driver sends it again.
        log.exception("the broker was lost in a step")
        raise
    except Exception as error:
        log.exception("step failed by a defect")
        defect = OrchestrateError(
            message=f"a defect: {type(error).__name__}: {error}",
            hint="the worker's log has the traceback: report it",
            stage=key.step,
        )
        _fail(journal, key, token, defect)
    else:
        # Journal first: whoever hears of the end must find it there.
        if journal.finish(key, token, report):
            _tell(journal, host, key, "stage_finished", report=report)


def _fail(journal: Journal, key: StepKey, token: int, error: OrchestrateError) -> None:
    report = error.as_data()
    log.warning("step failed", subject=key.subject, **report)
    if journal.fail(key, token, report):
        host = error.host or ("" if key.step is Step.BUILD else key.subject)
        _tell(journal, host, key, "stage_failed", **report)


def _tell(journal: Journal, host: str, key: StepKey, kind: str, **data: object) -> None:
    journal.emit(step_event(journal.run, host, key, kind, **data))


def _alive(journal: Journal, key: StepKey, token: int) -> AbstractContextManager[None]:
    """Renew the step's lease, and its host's lock, for as long as it runs."""

    def beat() -> None:
        if journal.heartbeat(key, token) and key.step.needs_lock:
            HostLocks(journal).renew(key.subject)

    return beating(beat, f"lease {key}", journal.lease_seconds)


def load_performer(path: str) -> Callable[[Journal, Plan, StepKey], Any]:
    """Import the function that does a step, from `module:name`."""
    module, _, name = path.partition(":")
    found: Callable[[Journal, Plan, StepKey], Any] = getattr(import_module(module), name)
    return found
