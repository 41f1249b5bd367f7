"""How a host ended in a run, as far as the journal knows it. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.errors import Failure, FailureKind
from orchestrator.model.boot_part import changed_parts
from orchestrator.model.journal import Step, StepState
from orchestrator.model.plan import Goal
from orchestrator.model.report import (
    CopyReport,
    HostResult,
    Outcome,
    RollbackReport,
    SwitchReport,
    Verdict,
)

if TYPE_CHECKING:
    from orchestrator.deploy.rollout.host_run import HostRun


def host_result(host: HostRun) -> HostResult:
    """Return one host's end, as far as the journal knows it."""
    smoke = host.smoke
    failure = _first_failure(host)
    base = HostResult(
        outcome=Outcome.SKIPPED,
        variant=host.plan.choice.variant,
        backend=smoke.backend if smoke else None,
        tokens_per_second=smoke.tokens_per_second if smoke else None,
        previous=host.plan.previous,
        current=host.plan.previous,
        message=failure.message if failure else "",
        failure=failure,
    )
    if not host.moves:
        return replace(base, outcome=Outcome.UNCHANGED)
    if host.must_roll_back:
        return _rolled_back(base, host)
    if host.has_arrived or host.reboot_refusal:
        return _with_reboot(_reached(base, host), host)
    # A build that a cancelled run stopped is no failure of its hosts.
    if base.message and not (host.is_cancelled and host.left_alone):
        return _failed(base, host)
    if host.goal is Goal.BUILD and host.is_built:
        return replace(base, outcome=Outcome.BUILT, message="not deployed")
    message = host.left_alone or "the run ended before its turn"
    return replace(base, message=message, failure=None)


def _failed(base: HostResult, host: HostRun) -> HostResult:
    """Return the end of a host that failed and can't go back, or need not."""
    reboot = host.records.get(Step.REBOOT)
    if reboot is not None and reboot.state is StepState.FAILED:
        # The new system is the boot default; whether it runs, only a check of it says.
        runs = reboot.error is not None and reboot.error.kind is FailureKind.REBOOTED
        current = host.plan.evaluation.toplevel if runs else None
        return replace(base, outcome=Outcome.FAILED, current=current, verdict=Verdict.NEEDS_REPAIR)
    return replace(base, outcome=Outcome.UNREACHABLE if host.is_unreachable else Outcome.FAILED)


def _reached(base: HostResult, host: HostRun) -> HostResult:
    """Return the end of a host that has come as far as the goal says."""
    # Without the reboot by which its new system comes, that is what it boots next.
    waits = Step.SWITCH not in host.way and host.goal is Goal.SWITCH and not host.has_arrived
    goal = Goal.BOOT if waits else host.goal
    outcome, message = _REACHED[goal]
    if outcome is Outcome.DEPLOYED and host.plan.goes_back:
        outcome = Outcome.ROLLED_BACK
    current = host.plan.evaluation.toplevel if goal.activates else base.current
    deployed = replace(base, outcome=outcome, current=current, message=message)
    units = _failed_units(host)
    if not units:
        return deployed
    return replace(
        deployed,
        verdict=Verdict.UNITS_FAILED,
        failed_units=units,
        message=f"the new system stays, with failed units: {', '.join(units)}",
    )


def _with_reboot(result: HostResult, host: HostRun) -> HostResult:
    """Describe what waits for a reboot on a host that had none."""
    copied = host.records.get(Step.COPY)
    if copied is None or not copied.report or host.has_done(Step.REBOOT):
        return result
    parts = copied.report_as(CopyReport, host.key(Step.COPY)).reboot_for
    if not parts or result.outcome is Outcome.DRY_ACTIVATED:
        return result
    why = f" ({host.reboot_refusal})" if host.reboot_refusal else ""
    waits = f"it needs a reboot{why}: {changed_parts(parts)}"
    return replace(result, message="; ".join(part for part in (result.message, waits) if part))


_REACHED = {
    Goal.SWITCH: (Outcome.DEPLOYED, ""),
    Goal.BOOT: (
        Outcome.BOOTS_NEXT,
        "its next boot, which is left to you, starts it; nothing was activated, no smoke test ran",
    ),
    Goal.TEST: (Outcome.TESTED, "it runs until the next boot; the boot default is as it was"),
    Goal.DRY_ACTIVATE: (Outcome.DRY_ACTIVATED, "nothing was changed"),
}


def _failed_units(host: HostRun) -> tuple[str, ...]:
    """Name the units that failed in either activation, each once."""
    found: dict[str, None] = {}
    for step in (Step.SWITCH, Step.CONFIRM):
        record = host.records.get(step)
        if record is not None and record.report:
            found |= dict.fromkeys(record.report_as(SwitchReport, host.key(step)).failed_units)
    return tuple(found)


def _rolled_back(base: HostResult, host: HostRun) -> HostResult:
    record = host.records.get(Step.ROLLBACK)
    if record is None or record.state is not StepState.DONE:
        why = record.error.message if record is not None and record.error else ""
        return replace(
            base,
            outcome=Outcome.FAILED,
            current=None,
            verdict=Verdict.NEEDS_REPAIR,
            message=f"{base.message}; rollback: {why}" if why else base.message,
        )
    report = record.report_as(RollbackReport, host.key(Step.ROLLBACK))
    good = report.verdict is Verdict.ROLLED_BACK
    return replace(
        base,
        outcome=Outcome.ROLLED_BACK if good else Outcome.FAILED,
        current=report.current,
        verdict=report.verdict,
        message=f"{base.message}; {report.detail}" if report.damaged or not good else base.message,
    )


def _first_failure(host: HostRun) -> Failure | None:
    if host.failed_build is not None:
        return host.failed_build.error or Failure("its build failed", stage=Step.BUILD)
    for step in (Step.COPY, *host.way):
        record = host.records.get(step)
        if record is not None and record.state is StepState.FAILED:
            return record.error or Failure(f"{step} failed", host=host.name, stage=step)
        if step is Step.SMOKE and host.smoke is not None and not host.smoke.passed:
            return Failure(
                message=host.smoke.failure,
                host=host.name,
                stage=step,
                last_lines=host.smoke.last_lines,
            )
    return None
