"""Drive a run to its end: read the journal, send what comes next, pass on events.

The driver holds nothing that the journal doesn't: killed and started again, it
goes on where the run is.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from orchestrator.deploy.drive.host_locks import HeldHosts
from orchestrator.deploy.drive.lost_steps import ATTEMPTS, Absences, LostSteps
from orchestrator.deploy.rollout.next_steps import decision_of, is_finished, next_steps
from orchestrator.deploy.rollout.results import results, settled_results
from orchestrator.errors import Failure, PayloadError
from orchestrator.model.event import (
    Built,
    HostFinished,
    QueueUnserved,
    RunFinished,
    StageFailed,
    WorkerLost,
    event_now,
    step_event,
)
from orchestrator.model.journal import Control, Step, StepKey, StepState
from orchestrator.model.report import BuildReport
from orchestrator.state.host_locks import HostLocks
from orchestrator.state.workers import Cluster, queue_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.model.event import Event
    from orchestrator.model.journal import StepRecord
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import HostResult
    from orchestrator.state.journal import Journal

    Send = Callable[[str, str, StepKey, int], None]

_WAIT_SECONDS = 1.0
"""How long a step's end is waited for; lost steps are looked for in between."""


def others_work() -> None:
    """Trust in workers that aren't ours."""


def drive(
    journal: Journal,
    send: Send,
    on_event: Callable[[Event], None],
    check: Callable[[], None] = others_work,
    after: str = "0",
) -> dict[str, HostResult]:
    """Drive the journal's run until nothing more can be done.

    Args:
        journal: the run; its plan is written.
        send: brings a step to a worker: queue, run, step, fencing token.
        on_event: hears every event of the run, the last being `run_finished`.
        check: asked between two waits; it raises where nobody is left to work.
        after: the id of the last event that was heard already, `0` for none.

    Raises:
        PayloadError: the journal was damaged.
    """
    written = journal.plan()
    _note_what_is_there(journal, written)
    holding = HeldHosts(HostLocks(journal))
    seen = after
    told: set[str] = set()
    lost = LostSteps(journal)
    unserved = Absences[str](journal.lease_seconds)
    while True:
        check()
        state = journal.look()
        cancelled = state.control is Control.CANCEL
        plan = replace(written.with_previous(state.previous), cancelled=cancelled)
        records = _withdrawn(journal, state.records) if plan.cancelled else state.records
        steps = next_steps(plan, records, state.now)
        if state.control is Control.PAUSE:
            steps = tuple(key for key in steps if not key.step.begins_something)
        holding.renew()
        due = holding.cleared(plan, records, (*steps, *lost.due(records)))
        for key in due:
            _send(journal, plan, send, key, records.get(key))
        # Read once: a host that settles in between would end the run untold.
        records = journal.records() if due else records
        _tell_unserved(journal, plan, records, unserved, told)
        _tell_held_back(journal, plan, records, told)
        _tell_settled(journal, plan, records, told, holding)
        if is_finished(plan, records):
            break
        seen = _pass_on(journal, seen, on_event)
    return _finish(journal, plan, seen, on_event, told)


def _note_what_is_there(journal: Journal, plan: Plan) -> None:
    """End the builds whose outputs the plan has found."""
    records = journal.records()
    for build in plan.outputs_there:
        key = StepKey(Step.BUILD, build.derivation)
        if key in records:
            continue
        made = BuildReport(build.derivation, build.output, build.builder, 0.0, was_valid=True)
        report = msgspec.to_builtins(made)
        token = journal.send(key)
        if token and journal.claim(key, token) and journal.finish(key, token, report):
            journal.emit(step_event(plan.run, build.builder, key, Built(made)))


def _pass_on(journal: Journal, seen: str, on_event: Callable[[Event], None]) -> str:
    """Pass on events until a step ends, or for a while; give the id of the last one.

    Most events tell of what goes on, and nothing is decided anew for them.
    """
    until = time.monotonic() + _WAIT_SECONDS
    ended = False
    while not ended and (left := until - time.monotonic()) > 0:
        for number, event in journal.events(seen, left):
            seen = number
            on_event(event)
            ended = ended or event.event in ("stage_finished", "stage_failed")
    return seen


def _withdrawn(
    journal: Journal, records: Mapping[StepKey, StepRecord]
) -> dict[StepKey, StepRecord]:
    """Take back what was sent and nobody has begun, and give the rest.

    A cancelled run would wait for ever for a queue that nobody serves.
    """
    return {
        key: record
        for key, record in records.items()
        if not (key.step.begins_something and journal.withdraw(key, record))
    }


def _send(
    journal: Journal, plan: Plan, send: Send, key: StepKey, record: StepRecord | None
) -> None:
    """Send a step that can be done now or was lost, unless another driver just did."""
    queue = queue_of(plan, key)
    begun = record is not None and record.state is StepState.STARTED
    if record is not None and begun and journal.attempts(key) >= ATTEMPTS:
        _give_up(journal, plan, key, record)
        return
    token = journal.send(key, record)
    if token is None:
        return
    if begun:
        journal.emit(step_event(plan.run, host_of(plan, key), key, WorkerLost()))
    send(queue, plan.run, key, token)


def _give_up(journal: Journal, plan: Plan, key: StepKey, record: StepRecord) -> None:
    """Fail a step that has ended every worker that began it."""
    failure = Failure(
        message=f"{ATTEMPTS} workers ended in the middle of it",
        hint="see the workers' logs; out of memory is the usual cause",
        host=host_of(plan, key),
        stage=key.step,
    )
    if journal.fail(key, record.token, failure):
        journal.emit(step_event(plan.run, failure.host, key, StageFailed(failure)))


def host_of(plan: Plan, key: StepKey) -> str:
    """Name the host that a step's events are told under: a build's is its builder.

    Raises:
        PayloadError: the plan has no such host or build.
    """
    places: dict[str, str] = {build.derivation: build.builder for build in plan.builds}
    if key.step is not Step.BUILD:
        places = {host.name: host.name for host in plan.hosts}
    place = places.get(key.subject)
    if place is None:
        message = f"the plan has no {key.subject}"
        raise PayloadError(message, stage=key.step)
    return place


def _tell_unserved(
    journal: Journal,
    plan: Plan,
    records: Mapping[StepKey, StepRecord],
    unserved: Absences[str],
    told: set[str],
) -> None:
    """Tell once of each queue that a step was sent to and that nobody serves."""
    sent = [key for key, record in records.items() if record.state is StepState.SENT]
    waiting = {queue_of(plan, key) for key in sent}
    served = Cluster(journal.client).served() if waiting else frozenset()
    for queue in unserved.lasting(waiting - served):
        name = f"queue {queue}"
        if name not in told:
            told.add(name)
            journal.emit(event_now(journal.run, "", "", QueueUnserved(queue)))


def _tell_held_back(
    journal: Journal, plan: Plan, records: Mapping[StepKey, StepRecord], told: set[str]
) -> None:
    """Tell once of each budget that is spent and each pause that begins."""
    for notice in decision_of(plan, records, journal.now()).notices:
        # No host's name has a space in it.
        name = f"{notice.event} {notice.subject}"
        if name not in told:
            told.add(name)
            journal.emit(event_now(journal.run, "", "", notice))


def _tell_settled(
    journal: Journal,
    plan: Plan,
    records: Mapping[StepKey, StepRecord],
    told: set[str],
    holding: HeldHosts,
) -> None:
    for host, result in settled_results(plan, records).items():
        if host not in told:
            told.add(host)
            holding.release(host, result)
            _tell_end(journal, host, result)


def _tell_end(journal: Journal, host: str, result: HostResult) -> None:
    journal.emit(event_now(journal.run, host, "", HostFinished(result)))


def _finish(
    journal: Journal, plan: Plan, seen: str, on_event: Callable[[Event], None], told: set[str]
) -> dict[str, HostResult]:
    """Save the results and pass on what is left in the stream, `run_finished` last."""
    ended = results(plan, journal.records())
    journal.save_results(ended)
    # Those that the run left alone: only its end settles them.
    for host, result in ended.items():
        if host not in told:
            _tell_end(journal, host, result)
    journal.emit(event_now(plan.run, "", "", RunFinished(ended)))
    while True:
        for number, event in journal.events(seen, _WAIT_SECONDS):
            seen = number
            on_event(event)
            if isinstance(event.body, RunFinished):
                return ended
