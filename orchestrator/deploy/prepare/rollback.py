"""Plan a rollback by hand: earlier generations, with the guard of a deployment.

What a rollback goes to is on the host already. From there on it is a run like
any other: automatic rollback, smoke test, confirmation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.deploy.prepare.survey import LeftOut
from orchestrator.errors import OrchestrateError, PlanError
from orchestrator.model.event import RollbackPlanned, StageFailed
from orchestrator.model.plan import Evaluation, HostPlan, Plan
from orchestrator.model.report import HostResult
from orchestrator.model.stage import Stage
from orchestrator.stages.activate.reboot import reboot_for
from orchestrator.stages.facts.facts import gather_facts
from orchestrator.stages.plan.batches import in_batches, policy_of
from orchestrator.stages.plan.generations import (
    check_there,
    generation_before,
    list_generations,
)
from orchestrator.stages.plan.plan import action_for
from orchestrator.stages.variant.variant import choose_variant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Host
    from orchestrator.deploy.prepare.survey import SurveyContext
    from orchestrator.model.facts import Facts
    from orchestrator.model.store import StorePath
    from orchestrator.transport.shell import Shell


@dataclass(frozen=True, slots=True)
class StateAfterRun:
    """Where each host was when a run had ended."""

    run: str
    results: Mapping[str, HostResult]

    def system_of(self, host: str) -> StorePath:
        """Return what a host ran then. Pure.

        Raises:
            PlanError: the run did not include this host, or doesn't know.
        """
        result = self.results.get(host)
        left = result.current if result is not None else None
        if left is None:
            message = f"run {self.run} does not know which system it ran"
            if result is None:
                message = f"run {self.run} did not include this host"
            hint = f"see `orchestrate history {host}` for the runs that did"
            raise PlanError(message, host=host, stage=Stage.ROLLBACK, hint=hint)
        return left


async def plan_rollback(
    context: SurveyContext, hosts: Sequence[Host], to: int | StateAfterRun | None
) -> Plan:
    """Plan to take `hosts` to an earlier generation.

    Args:
        context: the run and its connections.
        hosts: the targets.
        to: a generation's number, the same for all; what a run had left on each
            host; None for each host's previous generation.
    """

    async def one(host: Host) -> HostPlan | OrchestrateError:
        try:
            return await _plan_host(context, host, to)
        except OrchestrateError as error:
            context.emit(host.name, Stage.PLAN, StageFailed(error.failure))
            return error

    answers = await asyncio.gather(*map(one, hosts))
    left_out = LeftOut()
    for host, answer in zip(hosts, answers, strict=True):
        if isinstance(answer, OrchestrateError):
            left_out.add(host.name, answer)
    ready = [answer for answer in answers if isinstance(answer, HostPlan)]
    return Plan(
        run=context.run,
        hosts=in_batches(ready, context.inventory.fleet.rollout),
        builders=(),
        builds=(),
        unreachable=left_out.unreachable,
        blocked=left_out.blocked,
        failed=left_out.failed,
        confirm_timeout=context.inventory.fleet.confirm_timeout,
        way_back_timeout=context.inventory.fleet.way_back_timeout,
        policy=policy_of(ready, context.inventory, left_out.unreachable),
    )


async def _plan_host(
    context: SurveyContext, host: Host, to: int | StateAfterRun | None
) -> HostPlan:
    shell = await context.pool.shell(host)
    facts = await gather_facts(shell)
    toplevel, generation, where = await _goes_to(shell, facts, to)
    evaluation = Evaluation(host.name, None, toplevel, None, None)
    context.emit(host.name, Stage.PLAN, RollbackPlanned(where, toplevel))
    return HostPlan(
        target=host,
        facts=facts,
        choice=choose_variant(host, facts),
        evaluation=evaluation,
        action=action_for(facts, evaluation),
        notes=(where,),
        reboot_for=await reboot_for(shell, toplevel),
        goes_back=True,
        generation=generation,
    )


async def _goes_to(
    shell: Shell, facts: Facts, to: int | StateAfterRun | None
) -> tuple[StorePath, int | None, str]:
    """Return the system that a host goes to, its generation, and what that is called.

    The system is in the host's store; one that a run left need not be a generation.

    Raises:
        PlanError: there is none.
    """
    if isinstance(to, StateAfterRun):
        toplevel = to.system_of(facts.host)
        await check_there(shell, toplevel)
        number = (await list_generations(shell)).number_of(toplevel)
        return toplevel, number, f"what it had after run {to.run}"
    generations = await list_generations(shell)
    if to is None and facts.goes_back_to is not None:
        number = generations.number_of(facts.goes_back_to)
        return facts.goes_back_to, number, "what was confirmed last"
    wanted = generation_before(facts.host, generations, facts.running_system, to)
    return wanted.toplevel, wanted.number, f"generation {wanted.number}"
