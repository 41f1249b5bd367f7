"""`orchestrate deploy`: all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli import options
from orchestrator.cli.run import run
from orchestrator.deploy.prepare.prepare import prepare
from orchestrator.model.plan import Goal

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation


@options.command(
    "deploy",
    *options.ROLLOUT,
    options.inputs(),
    options.goal(
        *(goal for goal in Goal if goal.reaches_hosts),
        text="switch: run and boot it. test: run it until the next boot. boot: only boot it."
        " dry-activate: say what an activation would do.",
    ),
)
def command(invocation: Invocation) -> int:
    """Build, copy, switch, verify, and put back what fails."""
    return run(invocation, prepare)
