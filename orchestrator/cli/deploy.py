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
)
from orchestrator.cli.run import run
from orchestrator.deploy.prepare import prepare

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="deploy")
@target_argument
@inventory_option
@broker_option
@json_option
def command(target: str, inventory: Path, broker: str | None, *, as_json: bool) -> int:
    """Build, copy, switch, verify, and put back what fails."""
    invocation = Invocation(inventory, target, as_json=as_json, broker_option=broker)
    return run(invocation, prepare)
