"""`orchestrate build`: the builds of a deployment, and nothing on the targets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from orchestrator.cli.invocation import (
    Invocation,
    ask_become_pass_option,
    broker_option,
    inventory_option,
    json_option,
    limit_option,
    retry_failed_option,
    target_argument,
    update_input_option,
)
from orchestrator.cli.run import run
from orchestrator.deploy.prepare import prepare
from orchestrator.model.plan import Goal, Plan

if TYPE_CHECKING:
    from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Host
    from orchestrator.deploy.survey import Evaluator, Surveyor


@click.command(name="build")
@target_argument
@limit_option
@inventory_option
@broker_option
@ask_become_pass_option
@update_input_option
@retry_failed_option
@json_option
def command(  # noqa: PLR0913 - each is one option of the command line
    target: str,
    inventory: Path,
    broker: str | None,
    update_inputs: tuple[str, ...],
    *,
    ask_become_password: bool,
    limit: str | None,
    retry_failed: bool,
    as_json: bool,
) -> int:
    """Build every system on the builders, so that a deployment only copies."""
    invocation = Invocation(
        inventory,
        target,
        as_json=as_json,
        broker_option=broker,
        ask_become_password=ask_become_password,
        update_inputs=update_inputs,
        limit=limit,
        retry_failed=retry_failed,
        # What is only built does no harm.
        again=True,
    )
    return run(invocation, _prepare_builds)


async def _prepare_builds(
    surveyor: Surveyor, hosts: Sequence[Host]
) -> tuple[Plan, Evaluator | None]:
    plan, evaluator = await prepare(surveyor, hosts)
    return replace(plan, goal=Goal.BUILD), evaluator
