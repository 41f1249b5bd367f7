"""`orchestrate upgrade`: newer inputs for the fleet, kept only where the rollout succeeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.invocation import (
    Invocation,
    again_option,
    ask_become_pass_option,
    broker_option,
    copy_options,
    inventory_option,
    json_option,
    limit_option,
    reboot_option,
    retry_failed_option,
    serial_option,
    target_argument,
)
from orchestrator.cli.run import run
from orchestrator.deploy.upgrade import prepare_upgrade
from orchestrator.model.plan import Goal
from orchestrator.stages.flake import INPUTS

if TYPE_CHECKING:
    from pathlib import Path

    from inventory.rollout import Size
    from orchestrator.model.plan import Fanout


@click.command(name="upgrade")
@target_argument
@click.option(
    "--input",
    "inputs",
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
    show_default=True,
    help="switch: run and boot it. boot: only boot it.",
)
@limit_option
@serial_option
@reboot_option
@inventory_option
@broker_option
@ask_become_pass_option
@retry_failed_option
@again_option
@copy_options
@json_option
def command(  # noqa: PLR0913 - each is one option of the command line
    target: str,
    inventory: Path,
    broker: str | None,
    inputs: tuple[str, ...],
    *,
    ask_become_password: bool,
    goal: str,
    limit: str | None,
    reboot: bool | None,
    retry_failed: bool,
    again: bool,
    serial: tuple[Size, ...] | None,
    check_signatures: bool,
    fanout: Fanout,
    as_json: bool,
) -> int:
    """Deploy newer inputs; lock them only if every host ends well.

    Until then, and after a failure, flake.lock is as it was: the next
    deployment gives the hosts what they have.
    """
    invocation = Invocation(
        inventory,
        target,
        as_json=as_json,
        broker_option=broker,
        ask_become_password=ask_become_password,
        update_inputs=inputs,
        limit=limit,
        reboot=reboot,
        retry_failed=retry_failed,
        again=again,
        serial=serial,
        check_signatures=check_signatures,
        fanout=fanout,
        goal=Goal(goal),
    )
    return run(invocation, prepare_upgrade)
