"""Look at the fleet: facts, variants, flake, evaluation, before anything is decided.

Nothing on a target changes here. A host that fails a step is left out with its
reason; the others go on.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from inventory.host import Inventory
from orchestrator.errors import (
    Failure,
    OrchestrateError,
    PlanError,
    StageError,
    UnreachableError,
    UsageError,
)
from orchestrator.model.event import (
    Evaluated,
    Event,
    FactsRead,
    StageFailed,
    StageStarted,
    VariantChosen,
    event_now,
)
from orchestrator.model.ledger import Ledger
from orchestrator.model.plan import Evaluation, FlakeRef, Goal
from orchestrator.model.stage import Stage
from orchestrator.stages.evaluate.cache import fingerprint, recall, save_evaluations
from orchestrator.stages.evaluate.evaluate import evaluate, lock_flake, process_limit
from orchestrator.stages.facts.facts import gather_facts
from orchestrator.stages.flake.flake import write_flake
from orchestrator.stages.flake.send import send_flake
from orchestrator.stages.plan.plan import Survey
from orchestrator.stages.smoke.model import model_path, read_model
from orchestrator.stages.variant.variant import choose_variant
from orchestrator.transport.connect import ConnectionPool
from orchestrator.transport.shell import LocalShell, Shell
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Host
    from orchestrator.model.event import Body
    from orchestrator.model.facts import Facts
    from orchestrator.model.variant import VariantChoice

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SurveyContext:
    """What a survey needs: the fleet, the connections, a place for the flake.

    `update_inputs` are the flake's inputs to lock anew, besides the user's own
    flake, which always is as it is now. `read_ledger` is asked if something has
    to be built; without one nothing is known of earlier builds. The `goal`
    decides which hosts have to change. `retry_failed` plans also what is
    remembered to have failed. `may_reboot` are the hosts that may reboot in this
    run; None if only the inventory says. `lock_aside` locks another flake than the fleet's
    own and returns it.
    """

    run: str
    inventory: Inventory
    pool: ConnectionPool
    workspace: Workspace
    on_event: Callable[[Event], None]
    update_inputs: tuple[str, ...] = ()
    read_ledger: Callable[[], Ledger] = Ledger
    goal: Goal = Goal.SWITCH
    retry_failed: bool = False
    may_reboot: tuple[str, ...] | None = None
    lock_aside: Callable[[Shell, FlakeRef], Awaitable[FlakeRef]] | None = None

    def emit(self, host: str, stage: str, body: Body) -> None:
        """Pass on an event of this run that happens now."""
        self.on_event(event_now(self.run, host, stage, body))


@dataclass(slots=True)
class LeftOut:
    """The hosts that a survey goes on without, and why."""

    unreachable: dict[str, Failure] = field(default_factory=dict)
    blocked: dict[str, Failure] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)

    def add(self, host: str, error: OrchestrateError) -> None:
        """Note a host under the kind of its failure, which names it if no other one."""
        failure = error.failure if error.host else replace(error.failure, host=host)
        if isinstance(error, UnreachableError):
            self.unreachable[host] = failure
        elif isinstance(error, PlanError):
            self.blocked[host] = failure
        else:
            self.failed[host] = failure


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Where Nix evaluates, and how much processor and memory is there."""

    shell: Shell
    cpu_count: int
    memory_available_mib: int


async def survey_fleet(
    context: SurveyContext, hosts: Sequence[Host]
) -> tuple[Survey, Evaluator | None]:
    """Find out what the fleet is and what it should become.

    Returns:
        the survey, and what evaluated it; None if nothing was evaluated.

    Raises:
        OrchestrateError: nothing can be known of any host: no flake, no
            evaluator, a model that is none.
    """
    for path in {model_path(host.smoke) for host in hosts}:
        read_model(path)
    left_out = LeftOut()
    facts = await look(context, hosts, left_out, as_target=True)
    choices = choose(context, hosts, facts, left_out)
    chosen = [host for host in hosts if host.name in choices]
    evaluator = await pick_evaluator(context) if chosen else None
    evaluations = {}
    if evaluator is not None:
        evaluations = await evaluate_fleet(context, evaluator, choices, left_out)
    survey = Survey(
        facts=facts,
        choices=choices,
        evaluations=evaluations,
        unreachable=left_out.unreachable,
        blocked=left_out.blocked,
        failed=left_out.failed,
    )
    return survey, evaluator


async def look(
    context: SurveyContext, hosts: Sequence[Host], left_out: LeftOut, *, as_target: bool = False
) -> dict[str, Facts]:
    """Read the facts of `hosts`, all at once; of targets fewer than of builders.

    A host that fails is left out.
    """

    async def one(host: Host) -> Facts | None:
        context.emit(host.name, Stage.FACTS, StageStarted())
        try:
            facts = await gather_facts(await context.pool.shell(host), as_target=as_target)
        except OrchestrateError as error:
            left_out.add(host.name, error)
            context.emit(host.name, Stage.FACTS, StageFailed(error.failure))
            return None
        context.emit(host.name, Stage.FACTS, FactsRead())
        return facts

    answers = await asyncio.gather(*map(one, hosts))
    return {host.name: facts for host, facts in zip(hosts, answers, strict=True) if facts}


def choose(
    context: SurveyContext, hosts: Sequence[Host], facts: dict[str, Facts], left_out: LeftOut
) -> dict[str, VariantChoice]:
    """Choose a variant for every host whose facts are known."""
    choices = {}
    for host in hosts:
        if host.name not in facts:
            continue
        try:
            choice = choose_variant(host, facts[host.name])
        except OrchestrateError as error:
            left_out.add(host.name, error)
            context.emit(host.name, Stage.VARIANT, StageFailed(error.failure))
            continue
        choices[host.name] = choice
        chosen = VariantChosen(choice.variant, choice.reason, choice.warnings)
        context.emit(host.name, Stage.VARIANT, chosen)
    return choices


async def evaluate_fleet(
    context: SurveyContext,
    evaluator: Evaluator,
    choices: dict[str, VariantChoice],
    left_out: LeftOut,
) -> dict[str, Evaluation]:
    """Write the flake of these choices and evaluate it, wherever Nix is."""
    flake = await place_flake(context, evaluator, list(choices.values()))
    if context.lock_aside is None:
        await lock_flake(evaluator.shell, flake, ("user", *context.update_inputs))
    else:
        flake = await context.lock_aside(evaluator.shell, flake)
    answers = await _evaluate(context, evaluator, flake, list(choices))
    evaluations = {}
    for name, answer in answers.items():
        if isinstance(answer, Evaluation):
            evaluations[name] = answer
            context.emit(name, Stage.EVALUATE, Evaluated(answer.toplevel))
        else:
            left_out.add(name, answer)
            context.emit(name, Stage.EVALUATE, StageFailed(answer.failure))
    return evaluations


async def _evaluate(
    context: SurveyContext, evaluator: Evaluator, flake: FlakeRef, hosts: Sequence[str]
) -> dict[str, Evaluation | StageError]:
    """Evaluate the hosts whose result for this very flake isn't cached."""
    file = context.workspace.evaluation_cache
    mark = await fingerprint(evaluator.shell, flake)
    known = await recall(evaluator.shell, file, mark)
    unknown = [host for host in hosts if host not in known]
    processes = processes_on(context, evaluator)
    made = await evaluate(evaluator.shell, flake, unknown, processes)
    found = {host: one for host, one in made.items() if isinstance(one, Evaluation)}
    if found:
        save_evaluations(file, mark, known | found)
    answers = known | made
    return {host: answers[host] for host in hosts}


def processes_on(context: SurveyContext, evaluator: Evaluator) -> int:
    """Return how many evaluations run at a time on this evaluator."""
    budget = context.inventory.fleet.evaluation_memory_mib
    return process_limit(evaluator.cpu_count, evaluator.memory_available_mib, budget)


async def place_flake(
    context: SurveyContext, evaluator: Evaluator, choices: Sequence[VariantChoice]
) -> FlakeRef:
    """Write the flake to where the evaluator can read it."""
    directory = context.workspace.flake
    if isinstance(evaluator.shell, LocalShell):
        return FlakeRef(str(write_flake(directory, context.inventory, choices)))
    return await send_flake(evaluator.shell, context.inventory, choices, directory)


async def pick_evaluator(context: SurveyContext) -> Evaluator:
    """Choose where Nix evaluates: here if Nix is, otherwise the first builder that answers.

    Raises:
        UsageError: no host has Nix, or not the one that the inventory names.
    """
    wanted = context.inventory.fleet.evaluate_on
    if wanted in (None, "controller") and shutil.which("nix"):
        return Evaluator(LocalShell(), os.cpu_count() or 1, _memory_available_mib())
    if wanted == "controller":
        message = "orchestrate_evaluate_on is controller, but nix is not on PATH here"
        raise UsageError(message, stage=Stage.EVALUATE, hint="install Nix here, or name a builder")
    builders = context.inventory.builders
    candidates = [context.inventory.host(wanted)] if wanted else builders
    for builder in candidates:
        facts = await look(context, [builder], LeftOut())
        if builder.name in facts:
            known = facts[builder.name]
            shell = await context.pool.shell(builder)
            return Evaluator(shell, known.cpu_count, known.memory_available_mib)
    raise UsageError(
        message="there is no Nix to evaluate with: none here, and no builder answers",
        stage=Stage.EVALUATE,
        hint="install Nix here, or name a builder with orchestrate_evaluate_on",
    )


def _memory_available_mib() -> int:
    """Read how much memory is free here: caches count as free (proc_meminfo(5))."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        # Not Linux: its whole memory is the best known.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    values = dict(line.split(":", 1) for line in lines)
    return int(values["MemAvailable"].split()[0]) // 1024
