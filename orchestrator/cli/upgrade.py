"""`orchestrate upgrade`: newer inputs for the fleet, kept only if the rollout succeeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli import options
from orchestrator.cli.run import run
from orchestrator.deploy.prepare.upgrade import prepare_upgrade
from orchestrator.model.plan import Goal

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation


@options.command(
    "upgrade",
    *options.ROLLOUT,
    options.inputs("llama-cpp"),
    options.goal(Goal.SWITCH, Goal.BOOT, text="switch: run and boot it. boot: only boot it."),
)
def command(invocation: Invocation) -> int:
    """Deploy newer inputs; lock them only if every host ends well.

    Until then, and after a failure, flake.lock is as it was: the next
    deployment gives the hosts what they have.
    """
    return run(invocation, prepare_upgrade)
