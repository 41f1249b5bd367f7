"""`orchestrate build`: the builds of a deployment, and nothing on the targets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.cli import options
from orchestrator.cli.run import run
from orchestrator.deploy.prepare.prepare import prepare
from orchestrator.model.plan import Goal, Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Host
    from orchestrator.cli.invocation import Invocation
    from orchestrator.deploy.prepare.survey import Evaluator, SurveyContext


@options.command(
    "build",
    options.TARGET,
    options.LIMIT,
    options.inputs(),
    options.RETRY_FAILED,
    options.ASK_BECOME_PASS,
    options.BROKER,
    options.JSON,
)
def command(invocation: Invocation) -> int:
    """Build every system on the builders, so that a deployment only copies."""
    # What is only built does no harm.
    return run(replace(invocation, again=True), _prepare_builds)


async def _prepare_builds(
    context: SurveyContext, hosts: Sequence[Host]
) -> tuple[Plan, Evaluator | None]:
    plan, evaluator = await prepare(context, hosts)
    return replace(plan, goal=Goal.BUILD), evaluator
