"""What a run's records say of one host or build. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import FailureKind
from orchestrator.model.journal import Step, StepKey, StepState
from orchestrator.model.report import SmokeReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.model.journal import StepRecord
    from orchestrator.model.plan import Build, HostPlan, Plan
    from orchestrator.model.store import DerivationPath


def state_of(records: Mapping[StepKey, StepRecord], step: Step, subject: str) -> StepState | None:
    """Say where a step stands; None where it was never sent."""
    record = records.get(StepKey(step, subject))
    return record.state if record is not None else None


def is_done(records: Mapping[StepKey, StepRecord], step: Step, subject: str) -> bool:
    """Whether a step has ended well."""
    return state_of(records, step, subject) is StepState.DONE


def smoke_report(host: str, records: Mapping[StepKey, StepRecord]) -> SmokeReport | None:
    """Give the report of a host's smoke, once there is one.

    Raises:
        PayloadError: what the journal holds is no such report.
    """
    record = records.get(StepKey(Step.SMOKE, host))
    if record is None or record.state is not StepState.DONE:
        return None
    return record.report_as(SmokeReport, StepKey(Step.SMOKE, host))


def must_roll_back(host: HostPlan, records: Mapping[StepKey, StepRecord]) -> bool:
    """Whether something failed once the host's system had begun to change."""
    steps = (Step.SWITCH, Step.SMOKE, Step.HEALTH, Step.CONFIRM)
    if any(state_of(records, step, host.name) is StepState.FAILED for step in steps):
        return True
    smoke = smoke_report(host.name, records)
    return smoke is not None and not smoke.passed


def is_unreachable(host: HostPlan, records: Mapping[StepKey, StepRecord]) -> bool:
    """Whether the host could not be connected to before anything was done to it."""
    record = records.get(StepKey(Step.COPY, host.name))
    error = record.error if record is not None else None
    return error is not None and (error.kind, error.host) == (FailureKind.UNREACHABLE, host.name)


def is_built(host: HostPlan, records: Mapping[StepKey, StepRecord]) -> bool:
    """Whether what a host needs is built, or needs no build."""
    return host.awaited is None or is_done(records, Step.BUILD, host.awaited)


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
        wanted = build.depends_on if build is not None else None
    return None


def _build_of(plan: Plan, derivation: DerivationPath) -> Build | None:
    return next((build for build in plan.builds if build.derivation == derivation), None)
