"""One host in a run as it stands: how far it has come, and what comes next for it. Pure.

A host goes copy, switch, smoke test, health check if it has one, confirm, or a
shorter way if the goal is another one. Whatever fails after the switch began leads
to a rollback. A host waits for the build of its system, which others may share.
When it may leave its old one is for the run's policy to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.deploy.rollout.policy import HostState, Phase
from orchestrator.deploy.rollout.results import host_result
from orchestrator.errors import FailureKind
from orchestrator.model.journal import Step, StepKey, StepRecord, StepState
from orchestrator.model.plan import Action, Goal, HostPlan
from orchestrator.model.report import (
    Fault,
    RebootReport,
    RollbackReport,
    SmokeReport,
    Verdict,
)

if TYPE_CHECKING:
    from orchestrator.model.report import HostResult

_BEFORE_ROLLBACK = (Step.SWITCH, Step.SMOKE, Step.HEALTH, Step.CONFIRM)
"""What has begun to change a host's system, and is undone if it fails."""


# Without slots: what is asked of a host again is worked out once.
@dataclass(frozen=True)
class HostRun:
    """One host in a run as it stands.

    It doesn't hold its run, so that a run that was looked at is gone when it isn't
    needed any more, without work for the garbage collector.

    Args:
        plan: its part of the plan.
        goal: the run's.
        way: the steps that it goes once its closure is there, in their order.
        records: its own steps that were sent.
        is_built: whether what it needs is built, or needs no build.
        failed_build: the failure that keeps its system from being built.
        is_cancelled: whether its run is.
        left_alone: why the run leaves it alone; empty if it doesn't.
        build_goes_on: whether a build that it needs may still end, or fail.
        reboot_refusal: why it won't reboot in this run though it has confirmed;
            empty if it may.
    """

    plan: HostPlan
    goal: Goal
    way: tuple[Step, ...]
    records: Mapping[Step, StepRecord]
    is_built: bool
    failed_build: StepRecord | None
    is_cancelled: bool = False
    left_alone: str = ""
    build_goes_on: bool = False
    reboot_refusal: str = ""

    @property
    def name(self) -> str:
        """The inventory name."""
        return self.plan.name

    @property
    def moves(self) -> bool:
        """Whether it changes in this run."""
        return self.plan.action is Action.DEPLOY

    def key(self, step: Step) -> StepKey:
        """Return the key of one of its steps."""
        return StepKey(step, self.name)

    def state_of(self, step: Step) -> StepState | None:
        """Return where a step stands; None if it was never sent."""
        record = self.records.get(step)
        return record.state if record is not None else None

    def has_done(self, step: Step) -> bool:
        """Whether a step has ended well."""
        return self.state_of(step) is StepState.DONE

    def is_at(self, step: Step) -> bool:
        """Whether a step was sent and has not ended."""
        state = self.state_of(step)
        return state is not None and not state.is_final

    @cached_property
    def smoke(self) -> SmokeReport | None:
        """The report of its smoke test; None if there is none yet.

        Raises:
            PayloadError: what the journal holds is no such report.
        """
        record = self.records.get(Step.SMOKE)
        if record is None or record.state is not StepState.DONE:
            return self._smoke_after_reboot
        return record.report_as(SmokeReport, self.key(Step.SMOKE))

    @property
    def _smoke_after_reboot(self) -> SmokeReport | None:
        record = self.records.get(Step.REBOOT)
        if record is None or record.state is not StepState.DONE:
            return None
        return record.report_as(RebootReport, self.key(Step.REBOOT)).smoke

    @cached_property
    def must_roll_back(self) -> bool:
        """Whether something failed once its system had begun to change."""
        for step, record in self.records.items():
            if record.state is StepState.FAILED and step in self._undone:
                return True
        return self.smoke is not None and not self.smoke.passed

    @property
    def _undone(self) -> tuple[Step, ...]:
        """What is undone if it fails: a reboot too, where the new system came by it."""
        return (Step.REBOOT,) if Step.SWITCH not in self.way else _BEFORE_ROLLBACK

    @property
    def is_unreachable(self) -> bool:
        """Whether it could not be connected to before anything was done to it."""
        record = self.records.get(Step.COPY)
        error = record.error if record is not None else None
        lost = FailureKind.UNREACHABLE
        return error is not None and (error.kind, error.host) == (lost, self.name)

    @property
    def is_lost(self) -> bool:
        """Whether it is out of service, and this run won't bring it back."""
        if self.must_roll_back:
            return self._phase_of_rollback is Phase.OUT_OF_SERVICE
        return self.state_of(Step.REBOOT) is StepState.FAILED or self.is_unreachable

    @property
    def has_arrived(self) -> bool:
        """Whether it has gone its whole way."""
        return self.goal.reaches_hosts and self.has_done(self.way[-1])

    @property
    def awaits_reboot(self) -> bool:
        """Whether nothing but a reboot is left for it, which was not sent yet."""
        reboots = self.way[-1] is Step.REBOOT and Step.REBOOT not in self.records
        return reboots and self.has_done(self.way[-2])

    @cached_property
    def phase(self) -> Phase:
        """Where it stands, for the policy of its run."""
        if self.must_roll_back:
            return self._phase_of_rollback
        if self.has_done(self.way[-1]) or self.reboot_refusal:
            return Phase.DEPLOYED
        if self.state_of(Step.REBOOT) is StepState.FAILED:
            return Phase.OUT_OF_SERVICE
        states = [self.records[step].state for step in self.way if step in self.records]
        if states:
            # One that failed has changed nothing, or the host would go back.
            return Phase.FAILED if StepState.FAILED in states else Phase.CHANGING
        return self._phase_before_change

    @property
    def _phase_of_rollback(self) -> Phase:
        record = self.records.get(Step.ROLLBACK)
        if record is None or not record.state.is_final:
            return Phase.GOING_BACK
        if record.state is StepState.FAILED:
            return Phase.OUT_OF_SERVICE
        report = record.report_as(RollbackReport, self.key(Step.ROLLBACK))
        phases = {Verdict.ROLLED_BACK: Phase.ROLLED_BACK, Verdict.UNTOUCHED: Phase.FAILED}
        return phases.get(report.verdict, Phase.OUT_OF_SERVICE)

    @property
    def _phase_before_change(self) -> Phase:
        if self.state_of(Step.COPY) is StepState.FAILED:
            return Phase.UNREACHABLE if self.is_unreachable else Phase.FAILED
        if self.failed_build is not None:
            return Phase.FAILED
        return Phase.READY if self.is_built and self.has_done(Step.COPY) else Phase.WAITING

    @cached_property
    def state(self) -> HostState:
        """What the policy of its run decides by."""
        ended_at = max((record.ended_at for record in self.records.values()), default=0.0)
        refutes = self.smoke is not None and self.smoke.fault is Fault.PACKAGE
        return HostState(self.plan, self.phase, ended_at, refutes)

    @property
    def next_step(self) -> Step | None:
        """The step that can be sent for it now, if its run's policy lets it; None for none."""
        if not self.moves or not self.goal.reaches_hosts:
            return None
        step = self._step
        return None if step in self.records else step

    @property
    def _step(self) -> Step | None:
        """The step that it is at; the journal says whether that was sent."""
        if self.must_roll_back:
            return Step.ROLLBACK
        if self.reboot_refusal or not self.is_built:
            return None
        if not self.has_done(Step.COPY):
            return Step.COPY
        return next((step for step in self.way if not self.has_done(step)), self.way[-1])

    @property
    def begins_next(self) -> bool:
        """Whether its next step is the one with which it leaves its old system."""
        return self.goal.changes_hosts and self.next_step is self.way[0]

    @property
    def last_step(self) -> Step | None:
        """The last step, in the order of the way, that was sent for it; None for none."""
        return next((step for step in reversed(Step) if step in self.records), None)

    @property
    def is_settled(self) -> bool:
        """Whether nothing more comes of it, because it ended or is left alone."""
        if not self.moves:
            return True
        if self.left_alone:
            return not (self.is_at(Step.COPY) or self.build_goes_on)
        if self.goal is Goal.BUILD:
            return self.is_built or self.failed_build is not None
        return self.phase.has_ended

    @cached_property
    def result(self) -> HostResult:
        """How it ended, as far as the journal knows."""
        return host_result(self)
