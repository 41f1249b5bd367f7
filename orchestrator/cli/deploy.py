"""`orchestrate deploy`: all of it."""

from __future__ import annotations

import click

from orchestrator.cli.invocation import (
    Invocation,
    invoked,
    rollout_options,
    update_input_option,
)
from orchestrator.cli.run import run
from orchestrator.deploy.prepare.prepare import prepare
from orchestrator.model.plan import Goal


@click.command(name="deploy")
@rollout_options
@click.option(
    "--goal",
    type=click.Choice([goal.value for goal in Goal if goal.reaches_hosts]),
    default=Goal.SWITCH.value,
    callback=lambda _context, _option, value: Goal(value),
    show_default=True,
    help="switch: run and boot it. test: run it until the next boot. boot: only boot it."
    " dry-activate: say what an activation would do.",
)
@update_input_option
@invoked
def command(invocation: Invocation) -> int:
    """Build, copy, switch, verify, and put back what fails."""
    return run(invocation, prepare)
