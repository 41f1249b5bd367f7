"""Drive a run to its end: read the journal, send what comes next, pass on events.

The driver holds nothing that the journal doesn't: killed and started again, it
goes on where the run is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from orchestrator.deploy.rollout import host_result, is_finished, is_settled, next_steps, results
from orchestrator.errors import PayloadError
from orchestrator.model.event import Event
from orchestrator.model.journal import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.deploy.journal import Journal
    from orchestrator.model.journal import StepKey, StepRecord
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import HostResult

    Send = Callable[[str, str, StepKey, int], None]

_WAIT_SECONDS = 1.0
"""How long one wait for an event lasts; lost steps are looked for in between."""


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
    while True:
        check()
        _send_next(journal, plan, send, journal.records())
        # Read once: a host that settles in between would end the run untold.
        records = journal.records()
        _tell_settled(journal, plan, records, told)
        if is_finished(plan, records):
            break
        for number, event in journal.events(seen, _WAIT_SECONDS):
            seen = number
            on_event(event)
    return _finish(journal, plan, seen, on_event)


def _send_next(
    journal: Journal, plan: Plan, send: Send, records: Mapping[StepKey, StepRecord]
) -> None:
    """Send what can be done now and what was lost, unless another driver just did."""
    for key in (*next_steps(plan, records), *journal.lost(records)):
        queue = queue_of(plan, key)
        token = journal.send(key, records.get(key))
        if token is not None:
            send(queue, plan.run, key, token)


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
    return ".".join(("build", system, *build.features))


def _tell_settled(
    journal: Journal, plan: Plan, records: Mapping[StepKey, StepRecord], told: set[str]
) -> None:
    for host in plan.hosts:
        if host.name not in told and is_settled(plan, host, records):
            told.add(host.name)
            result = host_result(plan, host, records)
            data = msgspec.to_builtins(result)
            journal.emit(Event(time.time(), plan.run, host.name, "", "host_finished", data))


def _finish(
    journal: Journal, plan: Plan, seen: str, on_event: Callable[[Event], None]
) -> dict[str, HostResult]:
    """Save the results and pass on what is left in the stream, `run_finished` last."""
    ended = results(plan, journal.records())
    journal.save_results(ended)
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
