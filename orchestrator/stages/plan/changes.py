"""Changes: what a new system is beside the old one, in versions and in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import PayloadError
from orchestrator.model.event import Upgrades
from orchestrator.model.store import StorePath, parse_store_path, store_name
from orchestrator.scripts import script

if TYPE_CHECKING:
    from orchestrator.command import Command
    from orchestrator.model.plan import HostPlan
    from orchestrator.scripts import Answer

_TIMEOUT = 120.0


def change_of(host: HostPlan) -> Upgrades:
    """Compare what a host runs with what it is to run. Pure."""
    before = _package_of(host.facts.llama_cli)
    after = host.evaluation.llama
    return Upgrades(
        llama_before=store_name(before) if before else "",
        llama_after=store_name(after) if after else "",
        system_before=store_name(host.previous) if host.previous else "",
        system_after=store_name(host.evaluation.toplevel),
        rebuilt=before != after,
    )


def _package_of(program: str) -> StorePath | None:
    """Return the package of a program; None if it is in no store."""
    try:
        return parse_store_path("/".join(program.split("/")[:4]))
    except PayloadError:
        return None


def closure_sizes(*systems: StorePath) -> Command:
    """Ask how many bytes the closure of each system takes; all of them are in the store."""
    return script("stages/plan/closure_sizes.sh", *systems, timeout=_TIMEOUT)


def read_sizes(answer: Answer) -> tuple[int, ...]:
    """Read what `closure_sizes.sh` answered.

    Raises:
        PayloadError: it is anything else.
    """
    try:
        return tuple(map(int, answer.every("size")))
    except ValueError as error:
        message = f"expected sizes in bytes, found {str(answer.every('size'))[:120]}"
        raise PayloadError(message) from error
