"""`orchestrate upgrade`: newer inputs for the fleet, kept only where the rollout succeeds."""

from __future__ import annotations

import click

from orchestrator.cli.invocation import Invocation, invoked, rollout_options
from orchestrator.cli.run import run
from orchestrator.deploy.prepare.upgrade import prepare_upgrade
from orchestrator.model.plan import Goal
from orchestrator.stages.flake.flake import INPUTS


@click.command(name="upgrade")
@rollout_options
@click.option(
    "--input",
    "update_inputs",
    multiple=True,
    type=click.Choice(INPUTS),
    default=("llama-cpp",),
    show_default=True,
    help="The input of the generated flake to lock anew.",
)
@click.option(
    "--goal",
    type=click.Choice([Goal.SWITCH.value, Goal.BOOT.value]),
    default=Goal.SWITCH.value,
    callback=lambda _context, _option, value: Goal(value),
    show_default=True,
    help="switch: run and boot it. boot: only boot it.",
)
@invoked
def command(invocation: Invocation) -> int:
    """Deploy newer inputs; lock them only if every host ends well.

    Until then, and after a failure, flake.lock is as it was: the next
    deployment gives the hosts what they have.
    """
    return run(invocation, prepare_upgrade)
