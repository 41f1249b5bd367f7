"""Prepare a run: survey, plan, and bring the derivations to where they are built."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.deploy.prepare.builds import survey_builds
from orchestrator.deploy.prepare.survey import survey_fleet
from orchestrator.model.event import DerivationsSent, StageStarted
from orchestrator.model.stage import Stage
from orchestrator.stages.build.derivations import copy_derivations
from orchestrator.stages.plan.plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Host
    from orchestrator.deploy.prepare.survey import Evaluator, SurveyContext
    from orchestrator.model.plan import Plan
    from orchestrator.model.store import DerivationPath


def new_run_id() -> str:
    """Make a run's id: the time in UTC, so that ids sort, and four random characters."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


async def prepare(context: SurveyContext, hosts: Sequence[Host]) -> tuple[Plan, Evaluator | None]:
    """Survey `hosts` and plan; nothing is touched.

    Raises:
        OrchestrateError: no plan can be made.
    """
    survey, evaluator = await survey_fleet(context, hosts)
    if evaluator is not None:
        survey = await survey_builds(context, evaluator, survey)
    plan = make_plan(context.run, context.inventory, hosts, survey, context.goal)
    return replace(plan, retry_failed=context.retry_failed), evaluator


async def send_derivations(context: SurveyContext, plan: Plan, evaluator: Evaluator) -> None:
    """Bring each builder the derivations that it builds, or may have to take over.

    After this, no worker needs the evaluator: a build can move to any builder
    that fits while the controller is gone.

    Raises:
        CommandError: the builder that is to build something can't take it.
    """
    wanted: dict[str, list[DerivationPath]] = {}
    there = plan.outputs_there
    for build in plan.builds:
        if build in there:
            continue
        for builder in (build.builder, *build.fallbacks):
            wanted.setdefault(builder, []).append(build.derivation)

    async def send(builder: Host, derivations: Sequence[DerivationPath]) -> None:
        shell = await context.pool.shell(builder)
        if shell.host == evaluator.shell.host:
            return
        context.emit(builder.name, Stage.EVALUATE, StageStarted())
        await copy_derivations(evaluator.shell, shell, tuple(derivations))
        context.emit(builder.name, Stage.EVALUATE, DerivationsSent(len(derivations)))

    builders = {builder.name: builder for builder in plan.builders}
    await asyncio.gather(*(send(builders[name], drvs) for name, drvs in wanted.items()))
