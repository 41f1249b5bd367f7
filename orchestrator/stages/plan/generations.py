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
    from orchestrator.transport.shell import Shell


_LINE = re.compile(r"/nix/var/nix/profiles/system-(\d+)-link (/nix/store/\S+)")
_CURRENT = re.compile(r"(?:.*/)?system-(\d+)-link")


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation: its number, and the system it is."""

    number: int
    toplevel: StorePath


@dataclass(frozen=True, slots=True)
class Generations:
    """Those of a host, the oldest first, and the number of the one that its profile is.

    `current` is None if the profile is none of them.
    """

    listed: tuple[Generation, ...]
    current: int | None

    def of(self, toplevel: StorePath) -> Generation | None:
        """Return the newest that is this system; None if there is none."""
        return next((one for one in reversed(self.listed) if one.toplevel == toplevel), None)

    def number_of(self, toplevel: StorePath) -> int | None:
        """Return the number of the newest that is this system; None if there is none."""
        kept = self.of(toplevel)
        return kept.number if kept else None

    def numbered(self, number: int | None) -> Generation | None:
        """Return the one of this number; None if there is none."""
        return next((one for one in self.listed if one.number == number), None)


async def list_generations(shell: Shell) -> Generations:
    """Read the generations of the host behind `shell`.

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
    listed = tuple(sorted(generations, key=lambda generation: generation.number))
    current = _CURRENT.fullmatch(answer.get("current"))
    return Generations(listed, int(current[1]) if current else None)


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
    host: str, generations: Generations, running: StorePath | None, wanted: int | None
) -> Generation:
    """Choose the generation to go back to. Pure.

    As `nix-env --rollback` (its manual page) it is the next lower number than the profile's
    own, and as that is what the profile is afterwards, it is another one each time. A host
    that runs what its profile isn't, goes back from there: from the generation that it runs,
    or, if it runs none, to its profile's own.

    Args:
        host: the inventory name.
        generations: the host's.
        running: what runs there now.
        wanted: a generation's number; None for the one before.

    Raises:
        PlanError: there is none.
    """
    listed = ", ".join(str(generation.number) for generation in generations.listed) or "none"
    if wanted is not None:
        if found := generations.numbered(wanted):
            return found
        message = f"it has no generation {wanted}"
        raise PlanError(message, host=host, stage=Stage.ROLLBACK, hint=f"it has: {listed}")
    now = generations.numbered(generations.current)
    if running is not None and (now is None or now.toplevel != running):
        runs = generations.of(running)
        if runs is None and now is not None:
            return now
        now = runs
    older = [
        one
        for one in generations.listed
        if one.toplevel != running and (now is None or one.number < now.number)
    ]
    if not older:
        message = "it has no earlier generation"
        raise PlanError(message, host=host, stage=Stage.ROLLBACK, hint=f"it has: {listed}")
    return older[-1]
