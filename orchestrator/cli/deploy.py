"""`orchestrate deploy`: all of it."""

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
    update_input_option,
)
from orchestrator.cli.run import run
from orchestrator.deploy.prepare import prepare
from orchestrator.model.plan import Goal

if TYPE_CHECKING:
    from pathlib import Path

    from inventory.rollout import Size
    from orchestrator.model.plan import Fanout


@click.command(name="deploy")
@target_argument
@click.option(
    "--goal",
    type=click.Choice([goal.value for goal in Goal if goal.reaches_hosts]),
    default=Goal.SWITCH.value,
    show_default=True,
    help="switch: run and boot it. test: run it until the next boot. boot: only boot it."
    " dry-activate: say what an activation would do.",
)
@limit_option
@serial_option
@reboot_option
@inventory_option
@broker_option
@ask_become_pass_option
@update_input_option
@retry_failed_option
@again_option
@copy_options
@json_option
def command(  # noqa: PLR0913 - each is one option of the command line
    target: str,
    inventory: Path,
    broker: str | None,
    update_inputs: tuple[str, ...],
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
    """Build, copy, switch, verify, and put back what fails."""
    invocation = Invocation(
        inventory,
        target,
        as_json=as_json,
        broker_option=broker,
        ask_become_password=ask_become_password,
        update_inputs=update_inputs,
        limit=limit,
        reboot=reboot,
        retry_failed=retry_failed,
        again=again,
        serial=serial,
        check_signatures=check_signatures,
        fanout=fanout,
        goal=Goal(goal),
    )
    return run(invocation, prepare)
