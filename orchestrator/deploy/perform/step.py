"""A worker's part in a step: claim it, keep its lease while it runs, write how it ended.

Only the holder of a step's current fencing token may do any of this. A message that
is delivered twice, or outlived its driver, changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import msgspec
import redis
import structlog

from orchestrator.deploy.perform.runtime import RuntimeClosedError
from orchestrator.deploy.step_events import host_of, step_event
from orchestrator.errors import OrchestrateError
from orchestrator.model.event import StageFailed, StageStarted, step_finished
from orchestrator.model.journal import Step
from orchestrator.state.host_locks import HostLocks
from orchestrator.state.lease import beating

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from orchestrator.model.journal import StepKey
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import Report
    from orchestrator.state.journal import Journal

    Perform = Callable[[Journal, Plan, StepKey], Report]

log = structlog.get_logger()


def claim(journal: Journal, key: StepKey, token: int) -> bool:
    """Begin a step; return False if it isn't this worker's to do.

    Args:
        journal: the run's.
        key: the step.
        token: the fencing token that it was sent with.
    """
    if key.step.needs_lock and not HostLocks(journal).renew(key.subject):
        log.warning("its host's lock was lost to another run", run=journal.run, step=str(key))
        return False
    if not journal.claim(key, token):
        log.info("message dropped", run=journal.run, step=str(key), why="old, or begun already")
        return False
    return True


def carry_out(journal: Journal, key: StepKey, token: int, perform: Perform) -> None:
    """Do a claimed step, write how it ended, and emit that.

    Raises:
        redis.RedisError: the broker was lost; how the step ended is not known.
        RuntimeClosedError: the process is about to end; the step has not ended.
    """
    try:
        plan = journal.plan()
        host = host_of(plan, key)
        journal.emit(step_event(journal.run, host, key, StageStarted()))
        with _alive(journal, key, token), structlog.contextvars.bound_contextvars(host=host):
            report = perform(journal, plan, key)
    except OrchestrateError as error:
        _fail(journal, key, token, error)
    except (redis.RedisError, RuntimeClosedError) as error:
        # Says nothing of the step: its lease ends, and the driver sends it again.
        log.warning("a step was cut off", why=f"{type(error).__name__}: {error}")
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
        # Journal first: a reader of the event must find the end there.
        if journal.finish(key, token, msgspec.to_builtins(report)):
            journal.emit(step_event(journal.run, host, key, step_finished(key.step, report)))


def _fail(journal: Journal, key: StepKey, token: int, error: OrchestrateError) -> None:
    host = error.host or ("" if key.step is Step.BUILD else key.subject)
    failure = replace(error.failure, host=host, stage=error.stage or key.step)
    log.warning("step failed", subject=key.subject, **asdict(failure))
    if journal.fail(key, token, failure):
        journal.emit(step_event(journal.run, host, key, StageFailed(failure)))


def _alive(journal: Journal, key: StepKey, token: int) -> AbstractContextManager[None]:
    """Renew the step's lease, and its host's lock, for as long as it runs."""

    def beat() -> None:
        if journal.heartbeat(key, token) and key.step.needs_lock:
            HostLocks(journal).renew(key.subject)

    return beating(beat, f"lease {key}", journal.lease_seconds)
