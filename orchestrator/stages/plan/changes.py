"""Changes: what a new system is beside the old one, in versions and in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.command import Command, script
from orchestrator.errors import PayloadError
from orchestrator.model.event import Upgrades
from orchestrator.model.store import StorePath, parse_store_path, store_name

if TYPE_CHECKING:
    from orchestrator.model.plan import HostPlan

_SIZES = """
total() {
  sum=0
  for bytes in $(nix-store --query --requisites "$1" | xargs nix-store --query --size); do
    sum=$((sum + bytes))
  done
  echo "$sum"
}
for path; do total "$path"; done
"""

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
    """Give the package of a program; None where it is in no store."""
    try:
        return parse_store_path("/".join(program.split("/")[:4]))
    except PayloadError:
        return None


def closure_sizes(*systems: StorePath) -> Command:
    """Ask how many bytes the closure of each system takes; all of them are in the store."""
    return script(_SIZES, *systems, timeout=_TIMEOUT)


def parse_sizes(text: str) -> tuple[int, ...]:
    """Read what `closure_sizes` printed.

    Raises:
        PayloadError: it is anything else.
    """
    try:
        return tuple(int(line) for line in text.split())
    except ValueError as error:
        message = f"expected sizes in bytes, found {text[:120]!r}"
        raise PayloadError(message) from error
