"""Drive a run to its end: read the journal, send what comes next, pass on events.

The driver holds nothing that the journal doesn't: killed and started again, it
goes on where the run is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from orchestrator.deploy.rollout import (
    decision_of,
    is_finished,
    next_steps,
    results,
    settled_results,
)
from orchestrator.errors import PayloadError, StageError
from orchestrator.model.event import Event
from orchestrator.model.journal import Control, Step, StepKey, StepState
from orchestrator.stages.placement import HEAVY_FEATURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.deploy.journal import Journal
    from orchestrator.model.journal import StepRecord
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import HostResult

    Send = Callable[[str, str, StepKey, int], None]

_WAIT_SECONDS = 1.0
"""How long one wait for an event lasts; lost steps are looked for in between."""

_ATTEMPTS = 3
"""How often a step may take its worker with it; memory is the usual cause."""


def _no_check() -> None:
    """Trust in workers that aren't ours."""


def drive(
    journal: Journal,
    send: Send,
    on_event: Callable[[Event], None],
    check: Callable[[], None] = _no_check,
) -> dict[str, HostResult]:
    """Drive the journal's run until nothing more can be done.

    Args:
        journal: the run; its plan is written.
        send: brings a step to a worker: queue, run, step, fencing token.
        on_event: hears every event of the run, the last being `run_finished`.
        check: asked between two waits; it raises where nobody is left to work.

    Raises:
        PayloadError: the journal was damaged.
    """
    plan = journal.plan()
    seen = "0"
    told: set[str] = set()
    absences = _Absences(journal.lease_seconds / 2)
    while True:
        check()
        control = journal.control()
        plan = replace(plan, cancelled=control is Control.CANCEL)
        records = journal.records()
        steps = next_steps(plan, records, journal.now())
        if control is Control.PAUSE:
            steps = tuple(key for key in steps if not key.step.begins_something)
        for key in (*steps, *absences.lasting(journal.lost(records))):
            _send(journal, plan, send, key, records.get(key))
        # Read once: a host that settles in between would end the run untold.
        records = journal.records()
        _tell_held_back(journal, plan, records, told)
        _tell_settled(journal, plan, records, told)
        if is_finished(plan, records):
            break
        for number, event in journal.events(seen, _WAIT_SECONDS):
            seen = number
            on_event(event)
    return _finish(journal, plan, seen, on_event, told)


@dataclass(slots=True)
class _Absences:
    """Since when each lost step has been lost; seconds of the monotonic clock.

    Leases run on while the server is down. A worker that lived through that
    gives its next sign within `grace`, and must not be doubled before.
    """

    grace: float
    since: dict[StepKey, float] = field(default_factory=dict)

    def lasting(self, lost: Iterable[StepKey]) -> tuple[StepKey, ...]:
        """Give those of the lost steps that were lost a while ago already."""
        now = time.monotonic()
        self.since = {key: self.since.get(key, now) for key in lost}
        return tuple(key for key, first in self.since.items() if now - first >= self.grace)


def _send(
    journal: Journal, plan: Plan, send: Send, key: StepKey, record: StepRecord | None
) -> None:
    """Send a step that can be done now or was lost, unless another driver just did."""
    queue = queue_of(plan, key)
    begun = record is not None and record.state is StepState.STARTED
    if record is not None and begun and journal.attempts(key) >= _ATTEMPTS:
        _give_up(journal, plan, key, record)
        return
    token = journal.send(key, record)
    if token is None:
        return
    if begun:
        message = "its worker gives no sign of life; the step is sent again"
        host = host_of(plan, key)
        journal.emit(step_event(plan.run, host, key, "worker_lost", message=message))
    send(queue, plan.run, key, token)


def _give_up(journal: Journal, plan: Plan, key: StepKey, record: StepRecord) -> None:
    """Fail a step that has ended every worker that began it."""
    error = StageError(
        message=f"{_ATTEMPTS} workers ended in the middle of it",
        hint="see the workers' logs; out of memory is the usual cause",
        stage=key.step,
    ).as_data()
    if journal.fail(key, record.token, error):
        journal.emit(step_event(plan.run, host_of(plan, key), key, "stage_failed", **error))


def step_event(run: str, host: str, key: StepKey, kind: str, **data: object) -> Event:
    """Make an event of a step that happens now; a build's names its derivation."""
    if key.step is Step.BUILD:
        data["derivation"] = key.subject
    return Event(time.time(), run, host, key.step, kind, data)


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


def queue_of(plan: Plan, key: StepKey) -> str:
    """Name the queue of a step: queues are capabilities.

    A build goes to whoever serves `build.<system>`, with `.cuda` or `.rocm`
    behind it where the build needs that; every step on a target to `deploy`.

    Raises:
        PayloadError: the plan has no such build.
    """
    if key.step is not Step.BUILD:
        return "deploy"
    build = next((build for build in plan.builds if build.derivation == key.subject), None)
    if build is None:
        message = f"the journal of run {plan.run} has a build that its plan hasn't: {key.subject}"
        raise PayloadError(message, stage=Step.BUILD)
    system = plan.host(build.hosts[0]).facts.system
    return ".".join(("build", system, *(one for one in build.features if one in HEAVY_FEATURES)))


def _tell_held_back(
    journal: Journal, plan: Plan, records: Mapping[StepKey, StepRecord], told: set[str]
) -> None:
    """Tell once of each budget that is spent and each pause that begins."""
    for notice in decision_of(plan, records, journal.now()).notices:
        # No host's name has a space in it.
        name = f"{notice.event} {notice.subject}"
        if name not in told:
            told.add(name)
            data = {"subject": notice.subject, "message": notice.message}
            journal.emit(Event(time.time(), journal.run, "", "", notice.event, data))


def _tell_settled(
    journal: Journal, plan: Plan, records: Mapping[StepKey, StepRecord], told: set[str]
) -> None:
    for host, result in settled_results(plan, records).items():
        if host not in told:
            told.add(host)
            _tell_end(journal, host, result)


def _tell_end(journal: Journal, host: str, result: HostResult) -> None:
    data = msgspec.to_builtins(result)
    journal.emit(Event(time.time(), journal.run, host, "", "host_finished", data))


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
    journal.emit(run_finished(plan.run, ended))
    while True:
        for number, event in journal.events(seen, _WAIT_SECONDS):
            seen = number
            on_event(event)
            if event.event == "run_finished":
                return ended


def run_finished(run: str, ended: dict[str, HostResult]) -> Event:
    """Make the last event of a run."""
    hosts = msgspec.to_builtins(ended)
    return Event(time.time(), run, "", "", "run_finished", {"hosts": hosts})
