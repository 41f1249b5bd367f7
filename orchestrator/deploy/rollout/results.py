"""How a run ended for each host, as far as the journal knows it. Pure."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.deploy.rollout.next_steps import decision_of, is_settled, reboot_refusal
from orchestrator.deploy.rollout.step_records import (
    failed_build,
    is_built,
    is_done,
    is_unreachable,
    must_roll_back,
    smoke_report,
)
from orchestrator.errors import Failure, FailureKind
from orchestrator.model.boot_part import changed_parts
from orchestrator.model.journal import Step, StepKey, StepRecord, StepState
from orchestrator.model.plan import Action, Goal
from orchestrator.model.report import (
    CopyReport,
    HostResult,
    Outcome,
    RollbackReport,
    SwitchReport,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.model.plan import HostPlan, Plan


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
        found |= {
            name: HostResult(outcome, message=failure.message, failure=failure)
            for name, failure in hosts.items()
        }
    return found


def settled_results(plan: Plan, records: Mapping[StepKey, StepRecord]) -> dict[str, HostResult]:
    """Give the results of the hosts of which nothing more comes, while others may go on."""
    left_alone = decision_of(plan, records, math.inf).left_alone
    return {
        host.name: host_result(plan, host, records, left_alone.get(host.name, ""))
        for host in plan.hosts
        if is_settled(plan, host, records, left_alone)
    }


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
    failure = _first_failure(plan, host, records)
    base = HostResult(
        outcome=Outcome.SKIPPED,
        variant=host.choice.variant,
        backend=smoke.backend if smoke else None,
        tokens_per_second=smoke.tokens_per_second if smoke else None,
        previous=host.previous,
        current=host.previous,
        message=failure.message if failure else "",
        failure=failure,
    )
    if host.action is Action.UNCHANGED:
        return replace(base, outcome=Outcome.UNCHANGED)
    if must_roll_back(host, records):
        return _rolled_back(base, host, records)
    refusal = reboot_refusal(plan, host, records)
    arrived = plan.goal.reaches_hosts and is_done(records, plan.way_of(host)[-1], host.name)
    if arrived or refusal:
        return _with_reboot(_reached(plan.goal, base, host, records), host, records, refusal)
    # A build that a cancelled run stopped is no failure of its hosts.
    if base.message and not (plan.cancelled and left_alone):
        return _failed(base, host, records)
    if plan.goal is Goal.BUILD and is_built(host, records):
        return replace(base, outcome=Outcome.BUILT, message="not deployed")
    return replace(base, message=left_alone or "the run ended before its turn", failure=None)


def _failed(base: HostResult, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> HostResult:
    """Give the end of a host that failed where there is no way back, or needs none."""
    reboot = records.get(StepKey(Step.REBOOT, host.name))
    if reboot is not None and reboot.state is StepState.FAILED:
        # The new system is the boot default; whether it runs, only a check of it says.
        runs = reboot.error is not None and reboot.error.kind is FailureKind.REBOOTED
        current = host.evaluation.toplevel if runs else None
        return replace(base, outcome=Outcome.FAILED, current=current, verdict=Verdict.NEEDS_HANDS)
    lost = is_unreachable(host, records)
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
    if copied is None or not copied.report or is_done(records, Step.REBOOT, host.name):
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
        why = record.error.message if record is not None and record.error else ""
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


def _first_failure(
    plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]
) -> Failure | None:
    build = failed_build(plan, host.awaited, records)
    if build is not None:
        return build.error or Failure("its build failed", stage=Step.BUILD)
    for step in (Step.COPY, *plan.way_of(host)):
        record = records.get(StepKey(step, host.name))
        if record is not None and record.state is StepState.FAILED:
            return record.error or Failure(f"{step} failed", host=host.name, stage=step)
        if step is Step.SMOKE:
            smoke = smoke_report(host.name, records)
            if smoke is not None and not smoke.passed:
                return Failure(
                    message=smoke.failure,
                    host=host.name,
                    stage=Step.SMOKE,
                    last_lines=smoke.last_lines,
                )
    return None
