"""The rollout as a state machine: from a plan and a journal to what comes next. Pure.

A host goes copy, switch, smoke, health check if it has one, confirm, or a shorter
way where the goal is another one. Whatever fails after the switch began leads to
a rollback. Builds are shared: a host waits for the build of its system. When it
may leave its old one is for the run's policy to say.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from orchestrator.deploy.policy import Decision, Phase, Standing, decide
from orchestrator.model.journal import Step, StepKey, StepRecord, StepState
from orchestrator.model.plan import Action, Goal
from orchestrator.model.report import (
    CopyReport,
    Fault,
    HostResult,
    Outcome,
    RollbackReport,
    SmokeReport,
    SwitchReport,
    Verdict,
)
from orchestrator.stages.reboot import changed_parts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from orchestrator.model.plan import Build, HostPlan, Plan
    from orchestrator.model.store import DerivationPath

T = TypeVar("T")


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
        if (build.after is None or _done(records, Step.BUILD, build.after))
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
    state = _state(records, Step.REBOOT, host)
    return state is not None and not state.is_final


def reboot_refusal(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> str:
    """Say why a host that has confirmed won't reboot in this run; empty where it may."""
    key = StepKey(Step.REBOOT, host.name)
    waits = plan.way_of(host)[-1] is Step.REBOOT and _done(records, Step.CONFIRM, host.name)
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
    failed = _state(records, Step.REBOOT, host.name) is StepState.FAILED
    return failed or _is_unreachable(host, records)


def decision_of(plan: Plan, records: Mapping[StepKey, StepRecord], now: float) -> Decision:
    """Ask the run's policy who may begin and who is left alone.

    In a cancelled run nobody begins; who has begun goes on to an end.
    """
    if plan.cancelled:
        standings = [standing_of(plan, host, records) for host in moving_hosts(plan)]
        waiting = [one.name for one in standings if not one.phase.has_begun]
        return Decision(left_alone=dict.fromkeys(waiting, "the run was cancelled"))
    if not plan.goal.changes_hosts:
        return Decision()
    standings = [standing_of(plan, host, records) for host in moving_hosts(plan)]
    return decide(plan.policy, standings, plan.unreachable, now)


def standing_of(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> Standing:
    """Say where a moving host stands."""
    mine = [records[key] for step in Step if (key := StepKey(step, host.name)) in records]
    ended_at = max((record.ended_at for record in mine), default=0.0)
    smoke = smoke_report(host.name, records)
    refutes = smoke is not None and smoke.fault is Fault.PACKAGE
    return Standing(host, _phase(plan, host, records), ended_at, refutes)


def _phase(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> Phase:
    if must_roll_back(host, records):
        return _phase_back(host, records)
    way = plan.way_of(host)
    if _done(records, way[-1], host.name) or reboot_refusal(plan, host, records):
        return Phase.DEPLOYED
    if _state(records, Step.REBOOT, host.name) is StepState.FAILED:
        return Phase.OUT_OF_SERVICE
    states = [_state(records, step, host.name) for step in way]
    if any(states):
        # One that failed has changed nothing, or the host would go back.
        return Phase.FAILED if StepState.FAILED in states else Phase.CHANGING
    return _phase_before(plan, host, records)


def _phase_before(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> Phase:
    if _state(records, Step.COPY, host.name) is StepState.FAILED:
        return Phase.UNREACHABLE if _is_unreachable(host, records) else Phase.FAILED
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


def _is_unreachable(host: HostPlan, records: Mapping[StepKey, StepRecord]) -> bool:
    """Whether the host could not be connected to before anything was done to it."""
    record = records.get(StepKey(Step.COPY, host.name))
    return record is not None and record.error.get("unreachable") == host.name


def _host_step(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> Step | None:
    """Give the step that a host is at; the journal says whether it was sent."""
    if must_roll_back(host, records):
        return Step.ROLLBACK
    if reboot_refusal(plan, host, records):
        return None
    derivation = host.awaited
    if derivation is not None and not _done(records, Step.BUILD, derivation):
        return None
    if not _done(records, Step.COPY, host.name):
        return Step.COPY
    way = plan.way_of(host)
    return next((step for step in way if not _done(records, step, host.name)), way[-1])


def must_roll_back(host: HostPlan, records: Mapping[StepKey, StepRecord]) -> bool:
    """Whether something failed once the host's system had begun to change."""
    steps = (Step.SWITCH, Step.SMOKE, Step.HEALTH, Step.CONFIRM)
    if any(_state(records, step, host.name) is StepState.FAILED for step in steps):
        return True
    smoke = smoke_report(host.name, records)
    return smoke is not None and not smoke.passed


def is_finished(plan: Plan, records: Mapping[StepKey, StepRecord]) -> bool:
    """Whether nothing runs and nothing more can be sent."""
    running = any(not record.state.is_final for record in records.values())
    return not running and not next_steps(plan, records, math.inf)


def settled_results(plan: Plan, records: Mapping[StepKey, StepRecord]) -> dict[str, HostResult]:
    """Give the results of the hosts of which nothing more comes, while others may go on."""
    left_alone = decision_of(plan, records, math.inf).left_alone
    return {
        host.name: host_result(plan, host, records, left_alone.get(host.name, ""))
        for host in plan.hosts
        if _is_settled(plan, host, records, left_alone)
    }


def _is_settled(
    plan: Plan,
    host: HostPlan,
    records: Mapping[StepKey, StepRecord],
    left_alone: Collection[str],
) -> bool:
    if host.action is Action.UNCHANGED:
        return True
    if host.name in left_alone:
        return not _may_still_fail(plan, host, records, left_alone)
    if plan.goal is Goal.BUILD:
        failed = failed_build(plan, host.awaited, records)
        return _is_built(host, records) or failed is not None
    return _phase(plan, host, records).has_ended


def _is_built(host: HostPlan, records: Mapping[StepKey, StepRecord]) -> bool:
    return host.awaited is None or _done(records, Step.BUILD, host.awaited)


def _may_still_fail(
    plan: Plan,
    host: HostPlan,
    records: Mapping[StepKey, StepRecord],
    left_alone: Collection[str],
) -> bool:
    """Whether a copy to a host that is left alone goes on, or a build that others need."""
    copy = _state(records, Step.COPY, host.name)
    if copy is not None and not copy.is_final:
        return True
    for build in plan.builds:
        if host.name in build.hosts:
            state = _state(records, Step.BUILD, build.derivation)
            needed = not all(name in left_alone for name in build.hosts)
            if needed if state is None else not state.is_final:
                return True
    return False


def failed_build(
    plan: Plan, derivation: DerivationPath | None, records: Mapping[StepKey, StepRecord]
) -> StepRecord | None:
    """Give the failure that keeps a derivation from being built: its own or an earlier one's."""
    wanted = derivation
    while wanted is not None:
        record = records.get(StepKey(Step.BUILD, wanted))
        if record is not None and record.state is StepState.FAILED:
            return record
        build = _build_of(plan, wanted)
        wanted = build.after if build is not None else None
    return None


def results(plan: Plan, records: Mapping[StepKey, StepRecord]) -> dict[str, HostResult]:
    """Give every host's end, in the plan's order, those that were left out last."""
    left_alone = decision_of(plan, records, math.inf).left_alone
    found = {
        host.name: host_result(plan, host, records, left_alone.get(host.name, ""))
        for host in plan.hosts
    }
    left_out = (
        (Outcome.UNREACHABLE, plan.unreachable),
        (Outcome.SKIPPED, plan.blocked),
        (Outcome.FAILED, plan.failed),
    )
    for outcome, hosts in left_out:
        found |= {name: HostResult(outcome, message=text) for name, text in hosts.items()}
    return found


def host_result(
    plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord], left_alone: str = ""
) -> HostResult:
    """Give one host's end, as far as the journal knows it.

    Args:
        plan: the run's.
        host: whose end.
        records: what has been done.
        left_alone: why it was, empty where it wasn't.
    """
    smoke = smoke_report(host.name, records)
    base = HostResult(
        outcome=Outcome.SKIPPED,
        variant=host.choice.variant,
        backend=smoke.backend if smoke else None,
        tokens_per_second=smoke.tokens_per_second if smoke else None,
        previous=host.previous,
        current=host.previous,
        message=_first_failure(plan, host, records),
    )
    if host.action is Action.UNCHANGED:
        return replace(base, outcome=Outcome.UNCHANGED)
    if must_roll_back(host, records):
        return _rolled_back(base, host, records)
    refusal = reboot_refusal(plan, host, records)
    arrived = plan.goal.reaches_hosts and _done(records, plan.way_of(host)[-1], host.name)
    if arrived or refusal:
        return _with_reboot(_reached(plan.goal, base, host, records), host, records, refusal)
    # A build that a cancelled run stopped is no failure of its hosts.
    if base.message and not (plan.cancelled and left_alone):
        return _failed(base, host, records)
    if plan.goal is Goal.BUILD and _is_built(host, records):
        return replace(base, outcome=Outcome.BUILT, message="not deployed")
    return replace(base, message=left_alone or "the run ended before its turn")


def _failed(base: HostResult, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> HostResult:
    """Give the end of a host that failed where there is no way back, or needs none."""
    reboot = records.get(StepKey(Step.REBOOT, host.name))
    if reboot is not None and reboot.state is StepState.FAILED:
        # The new system is the boot default; whether it runs, only a check of it says.
        runs = reboot.error.get("rebooted") == host.name
        current = host.evaluation.toplevel if runs else None
        return replace(base, outcome=Outcome.FAILED, current=current, verdict=Verdict.NEEDS_HANDS)
    lost = _is_unreachable(host, records)
    return replace(base, outcome=Outcome.UNREACHABLE if lost else Outcome.FAILED)


def _reached(
    goal: Goal, base: HostResult, host: HostPlan, records: Mapping[StepKey, StepRecord]
) -> HostResult:
    """Give the end of a host that has come as far as the goal says."""
    outcome, message = _REACHED[goal]
    current = host.evaluation.toplevel if goal.activates else base.current
    deployed = replace(base, outcome=outcome, current=current, message=message)
    units = _failed_units(host.name, records)
    if not units:
        return deployed
    return replace(
        deployed,
        verdict=Verdict.UNITS_FAILED,
        failed_units=units,
        message=f"the new system stays, with failed units: {', '.join(units)}",
    )


def _with_reboot(
    result: HostResult, host: HostPlan, records: Mapping[StepKey, StepRecord], refusal: str
) -> HostResult:
    """Say what waits for a reboot on a host that had none."""
    copied = records.get(StepKey(Step.COPY, host.name))
    if copied is None or not copied.report or _done(records, Step.REBOOT, host.name):
        return result
    parts = copied.report_as(CopyReport, StepKey(Step.COPY, host.name)).reboot_for
    if not parts or result.outcome is Outcome.DRY_ACTIVATED:
        return result
    why = f" ({refusal})" if refusal else ""
    waits = f"it needs a reboot{why}: {changed_parts(parts)}"
    return replace(result, message="; ".join(part for part in (result.message, waits) if part))


_REACHED = {
    Goal.SWITCH: (Outcome.DEPLOYED, ""),
    Goal.BOOT: (
        Outcome.BOOTS_NEXT,
        "the next boot, which is left to you, gives it; nothing was activated, no smoke ran",
    ),
    Goal.TEST: (Outcome.TESTED, "it runs until the next boot; the boot default is as it was"),
    Goal.DRY_ACTIVATE: (Outcome.DRY_ACTIVATED, "nothing was changed"),
}


def _failed_units(host: str, records: Mapping[StepKey, StepRecord]) -> tuple[str, ...]:
    """Name the units that failed in either activation, each once."""
    found: dict[str, None] = {}
    for step in (Step.SWITCH, Step.CONFIRM):
        record = records.get(StepKey(step, host))
        if record is not None and record.report:
            found |= dict.fromkeys(record.report_as(SwitchReport, StepKey(step, host)).failed_units)
    return tuple(found)


def _rolled_back(
    base: HostResult, host: HostPlan, records: Mapping[StepKey, StepRecord]
) -> HostResult:
    record = records.get(StepKey(Step.ROLLBACK, host.name))
    if record is None or record.state is not StepState.DONE:
        why = str(record.error.get("message", "")) if record is not None else ""
        return replace(
            base,
            outcome=Outcome.FAILED,
            current=None,
            verdict=Verdict.NEEDS_HANDS,
            message=f"{base.message}; rollback: {why}" if why else base.message,
        )
    report = record.report_as(RollbackReport, StepKey(Step.ROLLBACK, host.name))
    good = report.verdict is Verdict.GOOD
    return replace(
        base,
        outcome=Outcome.ROLLED_BACK if good else Outcome.FAILED,
        current=report.current,
        verdict=report.verdict,
        message=base.message if good else f"{base.message}; {report.detail}",
    )


def _first_failure(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> str:
    failure = failed_build(plan, host.awaited, records)
    if failure is not None:
        return str(failure.error.get("message", "its build failed"))
    for step in (Step.COPY, *plan.way_of(host)):
        record = records.get(StepKey(step, host.name))
        if record is not None and record.state is StepState.FAILED:
            return str(record.error.get("message", f"{step} failed"))
        if step is Step.SMOKE:
            smoke = smoke_report(host.name, records)
            if smoke is not None and not smoke.passed:
                return smoke.failure
    return ""


def moving_hosts(plan: Plan) -> tuple[HostPlan, ...]:
    """Give the hosts that change in this run."""
    return tuple(host for host in plan.hosts if host.action is Action.DEPLOY)


def smoke_report(host: str, records: Mapping[StepKey, StepRecord]) -> SmokeReport | None:
    """Give the report of a host's smoke, once there is one.

    Raises:
        PayloadError: what the journal holds is no such report.
    """
    record = records.get(StepKey(Step.SMOKE, host))
    if record is None or record.state is not StepState.DONE:
        return None
    return record.report_as(SmokeReport, StepKey(Step.SMOKE, host))


def _done(records: Mapping[StepKey, StepRecord], step: Step, subject: str) -> bool:
    return _state(records, step, subject) is StepState.DONE


def _state(records: Mapping[StepKey, StepRecord], step: Step, subject: str) -> StepState | None:
    record = records.get(StepKey(step, subject))
    return record.state if record is not None else None


def _build_of(plan: Plan, derivation: DerivationPath) -> Build | None:
    return next((build for build in plan.builds if build.derivation == derivation), None)
