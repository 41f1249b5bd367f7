"""Drive a run to its end: read the journal, send what comes next, pass on events.

The driver holds nothing that the journal doesn't: killed and started again, it
goes on where the run is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from orchestrator.deploy.drive.host_locks import RunLocks
from orchestrator.deploy.drive.lost_steps import ATTEMPTS, Absences, LostSteps
from orchestrator.deploy.rollout.run import Run
from orchestrator.deploy.step_events import host_of, step_event
from orchestrator.errors import Failure
from orchestrator.model.event import (
    Built,
    HostFinished,
    QueueUnserved,
    RunFinished,
    StageFailed,
    WorkerLost,
    event_now,
)
from orchestrator.model.journal import Step, StepKey, StepState
from orchestrator.model.plan import Action
from orchestrator.model.report import BuildReport
from orchestrator.state.host_locks import HostLocks, later_runs
from orchestrator.state.workers import Cluster, queue_of

if TYPE_CHECKING:
    from collections.abc import Callable

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
        on_event: gets every event of the run, the last being `run_finished`.
        check: asked between two waits; it raises if no worker is left.
        after: the id of the last event that was passed on already, `0` for none.

    Raises:
        PayloadError: the journal was damaged.
    """
    plan = journal.plan()
    _note_what_is_there(journal, plan)
    locks = RunLocks(HostLocks(journal))
    lost = LostSteps(journal)
    unserved = Absences[str](journal.lease_seconds)
    reported: set[str] = set()
    seen = after
    while True:
        check()
        journal.note_driver()
        run = _look(journal, plan)
        locks.renew()
        for key in locks.ours(run, (*run.next_steps, *lost.due(run))):
            _send(journal, run, send, key)
        _emit_unserved(journal, run, unserved, reported)
        _emit_notices(journal, run, reported)
        _release_settled(journal, run, reported, locks)
        if run.is_finished:
            return _finish(journal, run, seen, on_event, reported)
        seen = _pass_on(journal, seen, on_event)


def _look(journal: Journal, plan: Plan) -> Run:
    """Read how the run stands; what a cancelled one has sent and nothing began is taken back.

    It would otherwise wait for ever for a queue that no worker serves.
    """
    targets = (host.target for host in plan.hosts if host.action is Action.DEPLOY)
    later = later_runs(journal.client, plan.run, targets)
    run = Run.of(plan, journal.look(), later)
    if not run.is_cancelled:
        return run
    return run.without(
        key
        for key, record in run.records.items()
        if key.step.begins_something and journal.withdraw(key, record)
    )


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
    """Pass on events until a step ends, or for a while; return the id of the last one.

    Most events report progress, and nothing is decided anew because of them.
    """
    until = time.monotonic() + _WAIT_SECONDS
    ended = False
    while not ended and (left := until - time.monotonic()) > 0:
        for number, event in journal.events(seen, left):
            seen = number
            on_event(event)
            ended = ended or event.event in ("stage_finished", "stage_failed")
    return seen


def _send(journal: Journal, run: Run, send: Send, key: StepKey) -> None:
    """Send a step that can be done now or was lost, unless another driver just did."""
    record = run.records.get(key)
    begun = record is not None and record.state is StepState.STARTED
    if record is not None and begun and journal.attempts(key) >= ATTEMPTS:
        _give_up(journal, run.plan, key, record)
        return
    token = journal.send(key, record)
    if token is None:
        return
    if begun:
        host = host_of(run.plan, key)
        journal.emit(step_event(journal.run, host, key, WorkerLost()))
    send(queue_of(run.plan, key), journal.run, key, token)


def _give_up(journal: Journal, plan: Plan, key: StepKey, record: StepRecord) -> None:
    """Fail a step that has ended every worker that began it."""
    failure = Failure(
        message=f"{ATTEMPTS} workers ended in the middle of it",
        hint="see the workers' logs; out of memory is the usual cause",
        host=host_of(plan, key),
        stage=key.step,
    )
    if journal.fail(key, record.token, failure):
        journal.emit(step_event(journal.run, failure.host, key, StageFailed(failure)))


def _emit_unserved(journal: Journal, run: Run, unserved: Absences[str], reported: set[str]) -> None:
    """Report once each queue that a step was sent to and that no worker serves."""
    sent = [key for key, record in run.records.items() if record.state is StepState.SENT]
    waiting = {queue_of(run.plan, key) for key in sent}
    served = Cluster(journal.client).served() if waiting else frozenset()
    for queue in unserved.lasting(waiting - served):
        name = f"queue {queue}"
        if name not in reported:
            reported.add(name)
            journal.emit(event_now(journal.run, "", "", QueueUnserved(queue)))


def _emit_notices(journal: Journal, run: Run, reported: set[str]) -> None:
    """Report once each budget that is spent and each pause that begins."""
    for notice in run.notices:
        # No host's name has a space in it.
        name = f"{notice.event} {notice.subject}"
        if name not in reported:
            reported.add(name)
            journal.emit(event_now(journal.run, "", "", notice))


def _release_settled(journal: Journal, run: Run, reported: set[str], locks: RunLocks) -> None:
    """Release each host that has ended, and report its end once."""
    for host in run.settled:
        if host.name not in reported:
            reported.add(host.name)
            locks.release(host.name, host.result)
            _emit_end(journal, host.name, host.result)


def _emit_end(journal: Journal, host: str, result: HostResult) -> None:
    journal.emit(event_now(journal.run, host, "", HostFinished(result)))


def _finish(
    journal: Journal, run: Run, seen: str, on_event: Callable[[Event], None], reported: set[str]
) -> dict[str, HostResult]:
    """Save the results and pass on what is left in the stream, `run_finished` last."""
    ended = run.results
    journal.save_results(ended)
    # The hosts that the run left out: only its end settles them.
    for host, result in ended.items():
        if host not in reported:
            _emit_end(journal, host, result)
    journal.emit(event_now(journal.run, "", "", RunFinished(ended)))
    while True:
        for number, event in journal.events(seen, _WAIT_SECONDS):
            seen = number
            on_event(event)
            if isinstance(event.body, RunFinished):
                return ended
