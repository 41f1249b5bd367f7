"""The generations of a host's system profile: what a rollback by hand can go to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import PlanError
from orchestrator.model.stage import Stage
from orchestrator.model.store import StorePath, parse_store_path
from orchestrator.scripts import answer_of, script
from orchestrator.stages.store_contents import lacking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.transport.shell import Shell


_LINE = re.compile(r"/nix/var/nix/profiles/system-(\d+)-link (/nix/store/\S+)")


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation: its number, and the system it is."""

    number: int
    toplevel: StorePath


async def list_generations(shell: Shell) -> tuple[Generation, ...]:
    """Read the generations of the host behind `shell`, the oldest first.

    The profile is the host's own: it holds what was confirmed there, whoever
    deployed it.

    Raises:
        CommandError: the host can't be asked.
        PayloadError: it answers something else.
    """
    result = await shell.run(script("stages/plan/generations.sh"))
    answer = answer_of(result, Stage.ROLLBACK, "its generations can't be listed")
    lines = answer.every("generation")
    found = (match for match in map(_LINE.fullmatch, lines) if match)
    generations = [Generation(int(match[1]), parse_store_path(match[2])) for match in found]
    return tuple(sorted(generations, key=lambda generation: generation.number))


async def check_there(shell: Shell, toplevel: StorePath) -> None:
    """Check that a system is still in the store of the host behind `shell`.

    Raises:
        PlanError: it isn't: its generation was deleted, and then collected.
        CommandError: the host can't be asked.
    """
    if await lacking(shell, (toplevel,), Stage.ROLLBACK):
        message = f"{toplevel} is not in its store any more"
        hint = "deploy it again, or go back to one of its generations: --to N"
        raise PlanError(message, host=shell.host, stage=Stage.ROLLBACK, hint=hint)


def generation_before(
    host: str, generations: Sequence[Generation], running: StorePath | None, wanted: int | None
) -> Generation:
    """Choose the generation to go back to. Pure.

    Args:
        host: the inventory name.
        generations: the host's, the oldest first.
        running: what runs there now.
        wanted: a generation's number; None for the newest that isn't `running`
            and is older than it.

    Raises:
        PlanError: there is none.
    """
    listed = ", ".join(str(generation.number) for generation in generations) or "none"
    if wanted is not None:
        for generation in generations:
            if generation.number == wanted:
                return generation
        message = f"it has no generation {wanted}"
        raise PlanError(message, host=host, stage=Stage.ROLLBACK, hint=f"it has: {listed}")
    now = max((g.number for g in generations if g.toplevel == running), default=None)
    older = [
        generation
        for generation in generations
        if generation.toplevel != running and (now is None or generation.number < now)
    ]
    if not older:
        message = "it has no earlier generation"
        raise PlanError(message, host=host, stage=Stage.ROLLBACK, hint=f"it has: {listed}")
    return older[-1]
