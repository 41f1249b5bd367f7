"""Plan a rollback by hand: earlier generations, with the guard of a deployment.

What a rollback goes to is on the host already. From there on it is a run like
any other: way back armed, smoke, confirmation.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestrateError, PlanError, UnreachableError
from orchestrator.model.plan import Evaluation, HostPlan, Plan
from orchestrator.stages.batches import in_batches, policy_of
from orchestrator.stages.facts import gather_facts
from orchestrator.stages.generations import generation_before, list_generations
from orchestrator.stages.plan import action_for
from orchestrator.stages.variant import choose_variant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Host
    from orchestrator.deploy.survey import Surveyor


async def plan_rollback(surveyor: Surveyor, hosts: Sequence[Host], generation: int | None) -> Plan:
    """Plan to take `hosts` to an earlier generation.

    Args:
        surveyor: the run and its connections.
        hosts: the targets.
        generation: a number, the same for all; None for each host's previous one.
    """

    async def one(host: Host) -> HostPlan | OrchestrateError:
        try:
            return await _plan_host(surveyor, host, generation)
        except OrchestrateError as error:
            surveyor.tell(host.name, "plan", "stage_failed", **error.as_data())
            return error

    answers = await asyncio.gather(*map(one, hosts))
    named = {host.name: answer for host, answer in zip(hosts, answers, strict=True)}
    errors = {
        name: answer for name, answer in named.items() if isinstance(answer, OrchestrateError)
    }
    ready = [answer for answer in answers if isinstance(answer, HostPlan)]
    unreachable = _of(errors, UnreachableError)
    return Plan(
        run=surveyor.run,
        hosts=in_batches(ready, surveyor.inventory.fleet.rollout),
        builders=(),
        builds=(),
        unreachable=unreachable,
        blocked=_of(errors, PlanError),
        failed={
            name: str(error)
            for name, error in errors.items()
            if not isinstance(error, (UnreachableError, PlanError))
        },
        confirm_timeout=surveyor.inventory.fleet.confirm_timeout,
        policy=policy_of(ready, surveyor.inventory, unreachable),
    )


async def _plan_host(surveyor: Surveyor, host: Host, generation: int | None) -> HostPlan:
    shell = await surveyor.pool.shell(host)
    facts = await gather_facts(shell)
    generations = await list_generations(shell)
    wanted = generation_before(host.name, generations, facts.running_system, generation)
    evaluation = Evaluation(host.name, None, wanted.toplevel, None, None)
    surveyor.tell(
        host.name, "plan", "stage_finished", generation=wanted.number, toplevel=wanted.toplevel
    )
    return HostPlan(
        host=host,
        facts=facts,
        choice=choose_variant(host, facts),
        evaluation=evaluation,
        action=action_for(facts, evaluation),
        notes=(f"generation {wanted.number}",),
    )


def _of(errors: dict[str, OrchestrateError], kind: type[OrchestrateError]) -> dict[str, str]:
    return {name: str(error) for name, error in errors.items() if isinstance(error, kind)}
