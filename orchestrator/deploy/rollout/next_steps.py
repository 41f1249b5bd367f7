"""The rollout as a state machine: from a plan and a journal to what comes next. Pure.

A host goes copy, switch, smoke, health check if it has one, confirm, or a shorter
way where the goal is another one. Whatever fails after the switch began leads to
a rollback. Builds are shared: a host waits for the build of its system. When it
may leave its old one is for the run's policy to say.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orchestrator.deploy.rollout.policy import Decision, HostState, Phase, decide
from orchestrator.deploy.rollout.step_records import (
    failed_build,
    is_built,
    is_done,
    is_unreachable,
    must_roll_back,
    smoke_report,
    state_of,
)
from orchestrator.model.journal import Step, StepKey, StepRecord, StepState
from orchestrator.model.plan import Action, Goal
from orchestrator.model.report import (
    Fault,
    RollbackReport,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from orchestrator.model.plan import HostPlan, Plan


def next_steps(
    plan: Plan, records: Mapping[StepKey, StepRecord], now: float
) -> tuple[StepKey, ...]:
    """Give the steps that can be sent now and weren't yet.

    Args:
        plan: the run's.
        records: what has been done of it.
        now: seconds of the journal's clock.
    """
    decision = decision_of(plan, records, now)
    wanted = [
        StepKey(Step.BUILD, build.derivation)
        for build in plan.builds
        if (build.depends_on is None or is_done(records, Step.BUILD, build.depends_on))
        and not all(name in decision.left_alone for name in build.hosts)
    ]
    if plan.goal.reaches_hosts:
        for host in moving_hosts(plan):
            step = _host_step(plan, host, records)
            begins = plan.goal.changes_hosts and step is plan.way_of(host)[0]
            if begins and host.name not in decision.may_begin:
                continue
            if step is not None and host.name not in decision.left_alone:
                wanted.append(StepKey(step, host.name))
    unsent = tuple(key for key in wanted if key not in records)
    return (
        *(key for key in unsent if key.step is not Step.REBOOT),
        *_reboots(plan, records, [key.subject for key in unsent if key.step is Step.REBOOT]),
    )


def _reboots(
    plan: Plan, records: Mapping[StepKey, StepRecord], waiting: Sequence[str]
) -> tuple[StepKey, ...]:
    """Let those of the waiting hosts reboot that leave their groups a machine in service.

    In a group one reboots at a time, while another one is neither changing nor lost.
    """
    if not waiting:
        return ()
    states = {host.name: _phase(plan, host, records) for host in moving_hosts(plan)}
    rebooting = {key.subject for key in records if _is_rebooting(records, key.subject)}
    down = {name for name, phase in states.items() if phase.in_transition or phase.is_lost}
    down |= plan.unreachable.keys()
    # Who only waits for this runs its new system.
    down -= set(waiting)
    for name in waiting:
        groups = plan.reboots.others_of(name).values()
        busy = any(rebooting.intersection(others) for others in groups)
        if busy or any(down.issuperset(others) for others in groups):
            continue
        rebooting.add(name)
        down.add(name)
    return tuple(StepKey(Step.REBOOT, name) for name in waiting if name in rebooting)


def _is_rebooting(records: Mapping[StepKey, StepRecord], host: str) -> bool:
    state = state_of(records, Step.REBOOT, host)
    return state is not None and not state.is_final


def reboot_refusal(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> str:
    """Say why a host that has confirmed won't reboot in this run; empty where it may."""
    key = StepKey(Step.REBOOT, host.name)
    waits = plan.way_of(host)[-1] is Step.REBOOT and is_done(records, Step.CONFIRM, host.name)
    if not waits or key in records:
        return ""
    if plan.cancelled:
        return "the run was cancelled"
    lost = {other.name for other in moving_hosts(plan) if _is_lost(other, records)}
    lost |= plan.unreachable.keys()
    for group, others in plan.reboots.others_of(host.name).items():
        if lost.issuperset(others):
            return f"no other machine of {group} is in service"
    return ""


def _is_lost(host: HostPlan, records: Mapping[StepKey, StepRecord]) -> bool:
    """Whether a host is out of service, and this run won't bring it back."""
    if must_roll_back(host, records):
        return _phase_back(host, records) is Phase.OUT_OF_SERVICE
    failed = state_of(records, Step.REBOOT, host.name) is StepState.FAILED
    return failed or is_unreachable(host, records)


def decision_of(plan: Plan, records: Mapping[StepKey, StepRecord], now: float) -> Decision:
    """Ask the run's policy who may begin and who is left alone.

    In a cancelled run nobody begins; who has begun goes on to an end.
    """
    if plan.cancelled:
        standings = [host_state(plan, host, records) for host in moving_hosts(plan)]
        waiting = [one.name for one in standings if not one.phase.has_begun]
        return Decision(left_alone=dict.fromkeys(waiting, "the run was cancelled"))
    if not plan.goal.changes_hosts:
        return Decision()
    standings = [host_state(plan, host, records) for host in moving_hosts(plan)]
    return decide(plan.policy, standings, plan.unreachable, now)


def host_state(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> HostState:
    """Say where a moving host stands."""
    mine = [records[key] for step in Step if (key := StepKey(step, host.name)) in records]
    ended_at = max((record.ended_at for record in mine), default=0.0)
    smoke = smoke_report(host.name, records)
    refutes = smoke is not None and smoke.fault is Fault.PACKAGE
    return HostState(host, _phase(plan, host, records), ended_at, refutes)


def _phase(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> Phase:
    if must_roll_back(host, records):
        return _phase_back(host, records)
    way = plan.way_of(host)
    if is_done(records, way[-1], host.name) or reboot_refusal(plan, host, records):
        return Phase.DEPLOYED
    if state_of(records, Step.REBOOT, host.name) is StepState.FAILED:
        return Phase.OUT_OF_SERVICE
    states = [state_of(records, step, host.name) for step in way]
    if any(states):
        # One that failed has changed nothing, or the host would go back.
        return Phase.FAILED if StepState.FAILED in states else Phase.CHANGING
    return _phase_before(plan, host, records)


def _phase_before(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> Phase:
    if state_of(records, Step.COPY, host.name) is StepState.FAILED:
        return Phase.UNREACHABLE if is_unreachable(host, records) else Phase.FAILED
    if failed_build(plan, host.awaited, records) is not None:
        return Phase.FAILED
    first = plan.way_of(host)[0]
    return Phase.READY if _host_step(plan, host, records) is first else Phase.WAITING


def _phase_back(host: HostPlan, records: Mapping[StepKey, StepRecord]) -> Phase:
    record = records.get(StepKey(Step.ROLLBACK, host.name))
    if record is None or not record.state.is_final:
        return Phase.GOING_BACK
    if record.state is StepState.FAILED:
        return Phase.OUT_OF_SERVICE
    report = record.report_as(RollbackReport, StepKey(Step.ROLLBACK, host.name))
    phases = {Verdict.GOOD: Phase.ROLLED_BACK, Verdict.UNTOUCHED: Phase.FAILED}
    return phases.get(report.verdict, Phase.OUT_OF_SERVICE)


def _host_step(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> Step | None:
    """Give the step that a host is at; the journal says whether it was sent."""
    if must_roll_back(host, records):
        return Step.ROLLBACK
    if reboot_refusal(plan, host, records):
        return None
    derivation = host.awaited
    if derivation is not None and not is_done(records, Step.BUILD, derivation):
        return None
    if not is_done(records, Step.COPY, host.name):
        return Step.COPY
    way = plan.way_of(host)
    return next((step for step in way if not is_done(records, step, host.name)), way[-1])


def is_finished(plan: Plan, records: Mapping[StepKey, StepRecord]) -> bool:
    """Whether nothing runs and nothing more can be sent."""
    running = any(not record.state.is_final for record in records.values())
    return not running and not next_steps(plan, records, math.inf)


def is_settled(
    plan: Plan,
    host: HostPlan,
    records: Mapping[StepKey, StepRecord],
    left_alone: Collection[str],
) -> bool:
    """Whether nothing more comes of a host, those that are left alone among them."""
    if host.action is Action.UNCHANGED:
        return True
    if host.name in left_alone:
        return not _may_still_fail(plan, host, records, left_alone)
    if plan.goal is Goal.BUILD:
        failed = failed_build(plan, host.awaited, records)
        return is_built(host, records) or failed is not None
    return _phase(plan, host, records).has_ended


def _may_still_fail(
    plan: Plan,
    host: HostPlan,
    records: Mapping[StepKey, StepRecord],
    left_alone: Collection[str],
) -> bool:
    """Whether a copy to a host that is left alone goes on, or a build that others need."""
    copy = state_of(records, Step.COPY, host.name)
    if copy is not None and not copy.is_final:
        return True
    for build in plan.builds:
        if host.name in build.hosts:
            state = state_of(records, Step.BUILD, build.derivation)
            needed = not all(name in left_alone for name in build.hosts)
            if needed if state is None else not state.is_final:
                return True
    return False


def moving_hosts(plan: Plan) -> tuple[HostPlan, ...]:
    """Give the hosts that change in this run."""
    return tuple(host for host in plan.hosts if host.action is Action.DEPLOY)
