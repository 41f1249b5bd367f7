"""Check a fleet's flake, wherever Nix is: what `orchestrate flake check` does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from orchestrator.deploy.prepare.survey import pick_evaluator, place_flake, processes_on
from orchestrator.errors import StageError
from orchestrator.stages.evaluate.check import (
    FlakeFinding,
    Kind,
    State,
    check_machine,
    check_overlays,
    check_package,
    package_names,
    system_of,
)
from orchestrator.stages.evaluate.evaluate import lock_flake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from orchestrator.deploy.prepare.survey import SurveyContext
    from orchestrator.model.plan import FlakeRef
    from orchestrator.transport.shell import Shell

T = TypeVar("T")


async def check_flake(context: SurveyContext) -> tuple[FlakeFinding, ...]:
    """Evaluate every host, what its overlays define, and every variant.

    No host is looked at: each has the llama.cpp that was last chosen for it, or that
    its pin asks for, or none yet.

    Raises:
        OrchestrateError: there is no flake, no evaluator, or no lock.
    """
    evaluator = await pick_evaluator(context)
    shell = evaluator.shell
    flake = await place_flake(context, evaluator, [])
    await lock_flake(shell, flake, ("user",))
    slots = asyncio.Semaphore(processes_on(context, evaluator))
    names = [host.name for host in context.inventory.targets]
    machines = await _all(_machine(shell, flake, name, slots) for name in names)
    found = {system for _, system in machines if system}
    packages = await _all(
        _packages(shell, flake, system, slots) for system in sorted(found or _built(context))
    )
    return tuple(
        finding for findings in (*(seen for seen, _ in machines), *packages) for finding in findings
    )


def _built(context: SurveyContext) -> set[str]:
    """Return the systems that the builders build; used if no host says what it is."""
    builders = (host.builder for host in context.inventory.builders)
    return {system for builder in builders if builder for system in builder.systems}


async def _machine(
    shell: Shell, flake: FlakeRef, name: str, slots: asyncio.Semaphore
) -> tuple[tuple[FlakeFinding, ...], str]:
    async with slots:
        machine, derivation = await check_machine(shell, flake, name)
        overlays = await check_overlays(shell, flake, name)
    if derivation is None:
        return (machine, overlays), ""
    try:
        return (machine, overlays), await system_of(shell, derivation)
    except StageError as error:
        # What is wrong with one machine must not hide what the others are.
        unread = replace(machine, state=State.FAILED, detail=error.message, hint=error.hint)
        return (unread, overlays), ""


async def _packages(
    shell: Shell, flake: FlakeRef, system: str, slots: asyncio.Semaphore
) -> tuple[FlakeFinding, ...]:
    async def one(name: str) -> FlakeFinding:
        async with slots:
            return await check_package(shell, flake, system, name)

    try:
        names = await package_names(shell, flake, system)
    except StageError as error:
        why = (*error.last_lines, error.message)[-1]
        hint, command = error.hint, error.command
        return (FlakeFinding(Kind.PACKAGE, system, State.FAILED, why, hint, command),)
    return tuple(await _all(one(name) for name in names))


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    return list(await asyncio.gather(*work))
