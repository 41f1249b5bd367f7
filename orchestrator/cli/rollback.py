"""`orchestrate rollback`: back to an earlier generation, guarded like a deployment."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from orchestrator.cli.invocation import (
    Invocation,
    broker_option,
    inventory_option,
    json_option,
    limit_option,
    serial_option,
    target_argument,
)
from orchestrator.cli.run import run
from orchestrator.deploy.by_hand import plan_rollback

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inventory.host import Host
    from inventory.rollout import Size
    from orchestrator.deploy.survey import Evaluator, Surveyor
    from orchestrator.model.plan import Plan


@click.command(name="rollback")
@target_argument
@limit_option
@serial_option
@click.option("--to", "generation", type=int, metavar="N", help="A generation; else the previous.")
@inventory_option
@broker_option
@json_option
def command(  # noqa: PLR0913 - each is one option of the command line
    target: str,
    generation: int | None,
    inventory: Path,
    broker: str | None,
    *,
    limit: str | None,
    serial: tuple[Size, ...] | None,
    as_json: bool,
) -> int:
    """Take each machine back to its previous generation, or to generation N.

    The same guard as a deployment: way back armed, smoke, confirmation.
    """
    invocation = Invocation(
        inventory, target, as_json=as_json, broker_option=broker, limit=limit, serial=serial
    )
    return run(invocation, partial(_prepare, generation=generation))


async def _prepare(
    surveyor: Surveyor, hosts: Sequence[Host], *, generation: int | None
) -> tuple[Plan, Evaluator | None]:
    return await plan_rollback(surveyor, hosts, generation), None
