"""Perform one journaled step: find what the stage needs, call it, report.

The stages know nothing of runs or journals; this is the only place that joins
the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.deploy.perform.activation import (
    perform_boot,
    perform_confirm,
    perform_dry_activate,
    perform_rollback,
    perform_switch,
)
from orchestrator.deploy.perform.build import perform_build
from orchestrator.deploy.perform.context import Context
from orchestrator.deploy.perform.copy import perform_copy
from orchestrator.deploy.perform.reboot import perform_reboot
from orchestrator.deploy.perform.runtime import process_runtime
from orchestrator.deploy.perform.smoke import perform_health_check, perform_smoke
from orchestrator.model.journal import Step, StepKey
from orchestrator.model.store import DerivationPath

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.model.plan import HostPlan, Plan
    from orchestrator.model.report import Report
    from orchestrator.state.journal import Journal

STEPS: dict[Step, Callable[[Context, HostPlan], Report]] = {
    Step.COPY: perform_copy,
    Step.SWITCH: perform_switch,
    Step.SMOKE: perform_smoke,
    Step.HEALTH: perform_health_check,
    Step.CONFIRM: perform_confirm,
    Step.REBOOT: perform_reboot,
    Step.BOOT: perform_boot,
    Step.DRY_ACTIVATE: perform_dry_activate,
    Step.ROLLBACK: perform_rollback,
}
"""What each step of a host is performed by."""


def perform(journal: Journal, plan: Plan, key: StepKey) -> Report:
    """Do one step and return its report.

    Raises:
        OrchestrateError: the step failed; it names host, stage and what to do.
    """
    context = Context(journal, plan, process_runtime())
    if key.step is Step.BUILD:
        return perform_build(context, plan.build(DerivationPath(key.subject)))
    return STEPS[key.step](context, plan.host(key.subject))
