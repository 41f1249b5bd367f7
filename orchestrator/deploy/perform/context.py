"""What performing a step needs: the run's journal and plan, and the way to its hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inventory.host import FailedUnits
from orchestrator.deploy.perform.runtime import Runtime
from orchestrator.errors import PayloadError
from orchestrator.model.event import event_now
from orchestrator.model.journal import Step, StepKey, StepState
from orchestrator.model.plan import Plan
from orchestrator.model.report import BuildReport
from orchestrator.stages.activate.activation import Activation
from orchestrator.state.journal import Journal

if TYPE_CHECKING:
    from inventory.host import Host
    from orchestrator.model.event import Body
    from orchestrator.model.plan import HostPlan
    from orchestrator.model.store import DerivationPath


@dataclass(frozen=True, slots=True)
class Context:
    """A run's journal and plan, and the connections of this process."""

    journal: Journal
    plan: Plan
    runtime: Runtime

    def emit(self, host: str, stage: str, body: Body) -> None:
        """Write an event of this run that happens now."""
        self.journal.emit(event_now(self.plan.run, host, stage, body))

    def builder(self, name: str) -> Host:
        """Return the builder called `name`.

        Raises:
            PayloadError: the plan has no such builder.
        """
        for builder in self.plan.builders:
            if builder.name == name:
                return builder
        message = f"the plan names the builder {name!r}, which it doesn't describe"
        raise PayloadError(message)

    def build_report(self, derivation: DerivationPath) -> BuildReport | None:
        """Return the report of a build; None if it is not done.

        Raises:
            PayloadError: what the journal holds is no such report.
        """
        key = StepKey(Step.BUILD, derivation)
        record = self.journal.records().get(key)
        if record is None or record.state is not StepState.DONE:
            return None
        return record.report_as(BuildReport, key)


def activation_of(plan: Plan, host: HostPlan) -> Activation:
    """Return what the run activates on a host."""
    return Activation(
        host=host.name,
        toplevel=host.evaluation.toplevel,
        previous=host.previous,
        boot_default=host.facts.boot_default,
        run=plan.run,
        confirm_timeout=plan.confirm_timeout,
        way_back_timeout=plan.way_back_timeout,
        boot_id=host.facts.boot_id,
        reboot_as_last_resort=host.target.reboot_as_last_resort,
        accept_failed_units=host.target.failed_units is FailedUnits.ACCEPT,
        # It has no way to make an earlier generation the profile's without a new one.
        nixos_rebuild=host.facts.nixos_rebuild if host.generation is None else None,
        generation=host.generation,
        tools=host.tools,
    )
