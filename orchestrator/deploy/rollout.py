"""The rollout as a state machine: from a plan and a journal to what comes next. Pure.

A host goes copy, switch, smoke, confirm; whatever fails after the switch began
leads to a rollback. Builds are shared: a host waits for the build of its system.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import msgspec

from orchestrator.errors import PayloadError
from orchestrator.model.journal import Step, StepKey, StepRecord, StepState
from orchestrator.model.plan import Action, Goal
from orchestrator.model.report import HostResult, Outcome, RollbackReport, SmokeReport, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.model.plan import Build, HostPlan, Plan
    from orchestrator.model.store import DerivationPath

T = TypeVar("T")


def next_steps(plan: Plan, records: Mapping[StepKey, StepRecord]) -> tuple[StepKey, ...]:
    """Give the steps that can be sent now and weren't yet."""
    wanted = [
        StepKey(Step.BUILD, build.derivation)
        for build in plan.builds
        if build.after is None or _done(records, Step.BUILD, build.after)
    ]
    if plan.goal is Goal.DEPLOY:
        for host in plan.hosts:
            if host.action is Action.DEPLOY:
                step = _host_step(plan, host, records)
                wanted += [StepKey(step, host.name)] if step else []
    return tuple(key for key in wanted if key not in records)


def _host_step(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> Step | None:
    """Give the step that a host is at; the journal says whether it was sent."""
    if must_roll_back(host, records):
        return Step.ROLLBACK
    derivation = host.evaluation.toplevel_drv
    if derivation is not None and not _done(records, Step.BUILD, derivation):
        return None
    if not _done(records, Step.COPY, host.name):
        return Step.COPY
    if not _batch_may_start(plan, host, records):
        return None
    for step in (Step.SWITCH, Step.SMOKE):
        if not _done(records, step, host.name):
            return step
    return Step.CONFIRM


def must_roll_back(host: HostPlan, records: Mapping[StepKey, StepRecord]) -> bool:
    """Whether something failed once the host's system had begun to change."""
    steps = (Step.SWITCH, Step.SMOKE, Step.CONFIRM)
    if any(_state(records, step, host.name) is StepState.FAILED for step in steps):
        return True
    smoke = smoke_report(host.name, records)
    return smoke is not None and not smoke.passed


def is_finished(plan: Plan, records: Mapping[StepKey, StepRecord]) -> bool:
    """Whether nothing runs and nothing more can be sent."""
    running = any(not record.state.is_final for record in records.values())
    return not running and not next_steps(plan, records)


def is_settled(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> bool:
    """Whether nothing more comes of a host, while others may go on."""
    if host.action is Action.UNCHANGED:
        return True
    derivation = host.evaluation.toplevel_drv
    built = derivation is not None and _done(records, Step.BUILD, derivation)
    if plan.goal is Goal.BUILD and built:
        return True
    if must_roll_back(host, records):
        state = _state(records, Step.ROLLBACK, host.name)
        return state is not None and state.is_final
    if _done(records, Step.CONFIRM, host.name):
        return True
    if _state(records, Step.COPY, host.name) is StepState.FAILED:
        return True
    return failed_build(plan, derivation, records) is not None


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
    found = {host.name: host_result(plan, host, records) for host in plan.hosts}
    left_out = (
        (Outcome.UNREACHABLE, plan.unreachable),
        (Outcome.SKIPPED, plan.blocked),
        (Outcome.FAILED, plan.failed),
    )
    for outcome, hosts in left_out:
        found |= {name: HostResult(outcome, message=text) for name, text in hosts.items()}
    return found


def host_result(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> HostResult:
    """Give one host's end, as far as the journal knows it."""
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
    if _done(records, Step.CONFIRM, host.name):
        return replace(base, outcome=Outcome.DEPLOYED, current=host.evaluation.toplevel)
    if base.message:
        return replace(base, outcome=Outcome.FAILED)
    if plan.goal is Goal.BUILD and is_settled(plan, host, records):
        return replace(base, outcome=Outcome.BUILT, message="not deployed")
    return replace(base, message=_why_skipped(plan, host, records))


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
    report = _report(record, RollbackReport, Step.ROLLBACK, host.name)
    good = report.verdict is Verdict.GOOD
    return replace(
        base,
        outcome=Outcome.ROLLED_BACK if good else Outcome.FAILED,
        current=report.current,
        verdict=report.verdict,
        message=base.message if good else f"{base.message}; {report.detail}",
    )


def _first_failure(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> str:
    failure = failed_build(plan, host.evaluation.toplevel_drv, records)
    if failure is not None:
        return str(failure.error.get("message", "its build failed"))
    for step in (Step.COPY, Step.SWITCH, Step.SMOKE, Step.CONFIRM):
        record = records.get(StepKey(step, host.name))
        if record is not None and record.state is StepState.FAILED:
            return str(record.error.get("message", f"{step} failed"))
        if step is Step.SMOKE:
            smoke = smoke_report(host.name, records)
            if smoke is not None and not smoke.passed:
                return smoke.failure
    return ""


def _why_skipped(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> str:
    for batch in range(host.batch):
        if _batch_failed(plan, batch, records):
            return (
                f"every host of batch {batch + 1} failed, so batch {host.batch + 1} was left alone"
            )
    return "the run ended before its turn"


def _batch_may_start(plan: Plan, host: HostPlan, records: Mapping[StepKey, StepRecord]) -> bool:
    """Whether all earlier batches ended, and not one of them wholly failed.

    A batch in which every host failed ends the play, as Ansible's `serial` has
    it ("Controlling playbook execution", `max_fail_percentage` left alone).
    """
    earlier = [other for other in moving_hosts(plan) if other.batch < host.batch]
    if not all(is_settled(plan, other, records) for other in earlier):
        return False
    return not any(_batch_failed(plan, batch, records) for batch in range(host.batch))


def _batch_failed(plan: Plan, batch: int, records: Mapping[StepKey, StepRecord]) -> bool:
    hosts = [host for host in moving_hosts(plan) if host.batch == batch]
    return bool(hosts) and not any(_done(records, Step.CONFIRM, host.name) for host in hosts)


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
    return _report(record, SmokeReport, Step.SMOKE, host)


def _report(record: StepRecord, kind: type[T], step: Step, host: str) -> T:
    try:
        return msgspec.convert(record.report, kind)
    except msgspec.ValidationError as error:
        message = f"the journal's {step} report can't be read: {error}"
        raise PayloadError(message, host=host, stage=step) from error


def _done(records: Mapping[StepKey, StepRecord], step: Step, subject: str) -> bool:
    return _state(records, step, subject) is StepState.DONE


def _state(records: Mapping[StepKey, StepRecord], step: Step, subject: str) -> StepState | None:
    record = records.get(StepKey(step, subject))
    return record.state if record is not None else None


def _build_of(plan: Plan, derivation: DerivationPath) -> Build | None:
    return next((build for build in plan.builds if build.derivation == derivation), None)
