"""`orchestrate plan`: what a deployment would do, and why; nothing is touched."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click
import msgspec

from orchestrator.cli.invocation import (
    Invocation,
    inventory_option,
    json_option,
    target_argument,
    update_input_option,
)
from orchestrator.deploy.prepare import new_run_id, prepare
from orchestrator.deploy.survey import Surveyor
from orchestrator.model.plan import Action
from orchestrator.model.store import store_name
from orchestrator.transport.connect import connections

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.model.plan import Build, HostPlan, Plan


@click.command(name="plan")
@target_argument
@inventory_option
@update_input_option
@json_option
def command(target: str, inventory: Path, update_inputs: tuple[str, ...], *, as_json: bool) -> int:
    """Show each machine's variant and why, what is built where, and the batches."""
    plan = asyncio.run(_plan(Invocation(inventory, target, update_inputs=update_inputs)))
    click.echo(msgspec.json.encode(plan).decode() if as_json else describe(plan))
    return 3 if plan.unreachable or plan.blocked or plan.failed else 0


async def _plan(invocation: Invocation) -> Plan:
    async with connections() as pool:
        surveyor = Surveyor(
            run=new_run_id(),
            inventory=invocation.inventory,
            pool=pool,
            workspace=invocation.workspace,
            on_event=lambda _: None,
            update_inputs=invocation.update_inputs,
        )
        plan, _ = await prepare(surveyor, invocation.hosts)
        return plan


def describe(plan: Plan) -> str:
    """Render a plan for a reader."""
    lines = [line for host in plan.hosts for line in _host_lines(host)]
    if plan.builds:
        lines += ["", "builds"]
        lines += [line for build in plan.builds for line in _build_lines(build)]
    left_out = {**plan.unreachable, **plan.blocked, **plan.failed}
    if left_out:
        lines += ["", "left out"]
        lines += [f"  {line}" for report in left_out.values() for line in report.splitlines()]
    if not plan.has_work:
        lines += ["", "nothing to do"]
    return "\n".join(lines)


def _host_lines(host: HostPlan) -> list[str]:
    what = "unchanged"
    if host.action is Action.DEPLOY:
        what = f"deploy in batch {host.batch + 1}"
    lines = [
        f"{host.name}: {host.choice.variant}, {what}",
        f"  why      {host.choice.reason}",
        f"  runs     {host.previous or 'no NixOS system yet'}",
        f"  becomes  {host.evaluation.toplevel}",
    ]
    return [*lines, *(f"  warning  {text}" for text in (*host.choice.warnings, *host.notes))]


def _build_lines(build: Build) -> list[str]:
    return [
        f"  {store_name(build.output)} on {build.builder}, for {', '.join(build.hosts)}",
        f"    why    {build.reason}",
    ]
