"""`orchestrate flake`: the generated flake itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click
import msgspec

from orchestrator.cli import options
from orchestrator.deploy.prepare.check import check_flake
from orchestrator.deploy.prepare.prepare import new_run_id
from orchestrator.deploy.prepare.survey import SurveyContext
from orchestrator.stages.evaluate.check import Kind, State
from orchestrator.transport.connect import connections

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation
    from orchestrator.stages.evaluate.check import FlakeFinding

_MARKS = {State.OK: "ok    ", State.NEEDS_UNFREE: "unfree", State.FAILED: "FAIL  "}


@options.command("check", options.JSON)
def check(invocation: Invocation) -> int:
    """Evaluate every host, its overlays and every variant; build nothing.

    A variant whose licence no host accepts is reported, and is a failure only if
    a host needs it.
    """
    findings = asyncio.run(_check(invocation))
    for finding in findings:
        click.echo(
            msgspec.json.encode(finding).decode() if invocation.as_json else describe(finding)
        )
    failed = sum(not finding.is_good for finding in findings)
    if not invocation.as_json:
        click.echo(_summary(findings, failed))
    return 3 if failed else 0


def _summary(findings: tuple[FlakeFinding, ...], failed: int) -> str:
    if failed:
        return f"{failed} of {len(findings)} do not evaluate"
    refused = sum(finding.state is State.NEEDS_UNFREE for finding in findings)
    if refused:
        return f"all that the hosts use evaluates; {refused} variants need an unfree licence"
    return f"all {len(findings)} evaluate"


async def _check(invocation: Invocation) -> tuple[FlakeFinding, ...]:
    async with connections() as pool:
        context = SurveyContext(
            run=new_run_id(),
            inventory=invocation.inventory,
            pool=pool,
            workspace=invocation.workspace,
            on_event=lambda _: None,
        )
        return await check_flake(context)


def describe(finding: FlakeFinding) -> str:
    """Render one finding: a line, and what to do about it if that is known."""
    what = f"{finding.name} overlays" if finding.kind is Kind.OVERLAYS else finding.name
    line = f"{_MARKS[finding.state]}  {what}: {finding.detail}"
    return f"{line}\n        next: {finding.hint}" if finding.hint else line


command = click.Group(
    "flake",
    commands=[check],
    params=[options.INVENTORY, options.DEBUG],
    callback=lambda **_given: None,
    help="Ask about the flake that this fleet's hosts come from.",
)
