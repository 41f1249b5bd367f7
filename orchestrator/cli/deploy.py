"""`orchestrate deploy`: all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.invocation import (
    Invocation,
    broker_option,
    inventory_option,
    json_option,
    target_argument,
    update_input_option,
)
from orchestrator.cli.run import run
from orchestrator.deploy.prepare import prepare

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="deploy")
@target_argument
@inventory_option
@broker_option
@update_input_option
@json_option
def command(
    target: str,
    inventory: Path,
    broker: str | None,
    update_inputs: tuple[str, ...],
    *,
    as_json: bool,
) -> int:
    """Build, copy, switch, verify, and put back what fails."""
    invocation = Invocation(
        inventory, target, as_json=as_json, broker_option=broker, update_inputs=update_inputs
    )
    return run(invocation, prepare)
