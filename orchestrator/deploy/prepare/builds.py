"""Look at what builds stand on: builders, stores, derivations, the ledger of builds.

Nothing changes here either. Only hosts that have to change are looked at.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.deploy.prepare.survey import LeftOut, look
from orchestrator.errors import OrchestrateError
from orchestrator.model.event import StageFailed, StoreUnknown
from orchestrator.model.plan import Action
from orchestrator.model.stage import Stage
from orchestrator.model.store import StorePath
from orchestrator.stages.plan.derivations import ask_derivations
from orchestrator.stages.plan.inhibitors import inhibited
from orchestrator.stages.plan.plan import Survey, action_for, failed_before
from orchestrator.stages.plan.quarantine import refusal
from orchestrator.stages.store_contents import ask_builder, ask_store

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from orchestrator.deploy.prepare.survey import Evaluator, SurveyContext
    from orchestrator.errors import PlanError
    from orchestrator.model.plan import Evaluation
    from orchestrator.model.store_contents import StoreContents
    from orchestrator.stages.plan.derivations import Needs


async def survey_builds(context: SurveyContext, evaluator: Evaluator, survey: Survey) -> Survey:
    """Add what placing builds needs to a survey of the fleet.

    Hosts that need a build that failed before are left out, and those that would
    get what is quarantined.

    Raises:
        OrchestrateError: the evaluator or the ledger can't be asked.
    """
    moving = {
        name: evaluation
        for name, evaluation in survey.evaluations.items()
        if action_for(survey.facts[name], evaluation, context.goal) is Action.DEPLOY
    }
    if not moving:
        return survey
    # On a thread: the broker may have to be started, which imports much.
    reading = asyncio.create_task(asyncio.to_thread(context.read_ledger))
    try:
        needs, builders = await asyncio.gather(
            ask_derivations(evaluator.shell, moving.values()),
            look(context, context.inventory.builders, LeftOut()),
        )
    finally:
        # What it is about to open must not be ended meanwhile.
        await asyncio.wait({reading})
    ledger = reading.result()
    stores = await ask_stores(context, moving, needs.values())
    known = replace(survey, builders=builders, stores=stores, needs=needs, ledger=ledger)
    return refuse(context, known, moving)


async def ask_stores(
    context: SurveyContext, moving: Mapping[str, Evaluation], needs: Collection[Needs]
) -> dict[str, StoreContents]:
    """Ask every builder and every host that moves what it has already, all at once.

    One that can't be asked is left out: it is taken to have nothing.
    """
    outputs = tuple(
        dict.fromkeys(
            path
            for one in moving.values()
            for path in (one.llama, one.toplevel)
            if path is not None
        )
    )
    inputs = tuple(frozenset[StorePath]().union(*(one.inputs for one in needs)))
    wanted: dict[str, tuple[StorePath, ...]] = {
        name: (one.toplevel,) for name, one in moving.items()
    }
    builders = {builder.name: builder for builder in context.inventory.builders}
    wanted |= dict.fromkeys(builders, outputs)

    async def ask(name: str, paths: tuple[StorePath, ...]) -> StoreContents | None:
        try:
            shell = await context.pool.shell(context.inventory.host(name))
            if name in builders:
                return await ask_builder(shell, paths, inputs, builders[name].caches)
            return await ask_store(shell, paths)
        except OrchestrateError as error:
            context.emit(name, Stage.PLAN, StoreUnknown(error.failure))
            return None

    answers = await asyncio.gather(*(ask(name, paths) for name, paths in wanted.items()))
    return {name: known for name, known in zip(wanted, answers, strict=True) if known is not None}


def refuse(context: SurveyContext, survey: Survey, moving: Mapping[str, Evaluation]) -> Survey:
    """Leave out the hosts that would get what failed a smoke test, or need what failed to build.

    So are those that can't be switched to what they would get.
    """
    refused = {}
    for name, evaluation in moving.items():
        facts, host = survey.facts[name], context.inventory.host(name)
        error = (
            refusal(facts, evaluation, survey.ledger.quarantined)
            or inhibited(host, facts, evaluation, context.goal, context.may_reboot)
            or _failed_before(context, survey, evaluation)
        )
        if error is not None:
            refused[name] = error.failure
            context.emit(name, Stage.PLAN, StageFailed(error.failure))
    evaluations = {name: made for name, made in survey.evaluations.items() if name not in refused}
    return replace(survey, evaluations=evaluations, blocked={**survey.blocked, **refused})


def _failed_before(
    context: SurveyContext, survey: Survey, evaluation: Evaluation
) -> PlanError | None:
    """Return which build of a host failed before, unless it is there or to be tried again."""
    if context.retry_failed:
        return None
    holders = (*(builder.name for builder in context.inventory.builders), evaluation.host)
    known = [survey.store(name) for name in holders]
    there = {path for one in known for path in (*one.valid, *one.substitutable)}
    return failed_before(evaluation, survey.ledger, there)
