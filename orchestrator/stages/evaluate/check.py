"""Check the flake: does everything in it evaluate, machine by machine and variant by variant?

Nothing is built and nothing on a host changes. What fails is data, one finding
for each thing that was evaluated; a licence that nobody accepted is told apart
from a defect.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator import nix
from orchestrator.errors import PayloadError
from orchestrator.hints import hint_for
from orchestrator.model.stage import Stage
from orchestrator.model.store import store_name
from orchestrator.scripts import answer_of, script
from orchestrator.stages.evaluate.evaluate import instantiated, last_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.command import CommandResult
    from orchestrator.model.plan import FlakeRef
    from orchestrator.model.store import DerivationPath
    from orchestrator.transport.shell import Shell


# nixpkgs' pkgs/stdenv/generic/check-meta.nix: its words of 2026, and those before,
# with its typographic quotes.
_REFUSED = re.compile(
    r"(?:Refusing to evaluate package '|Package \u2018)(?P<package>[^'\u2019]+)['\u2019].*"
    r"an unfree license \(\u2018(?P<licence>[^\u2019]*)\u2019\)"
)
# Our own overlay's words for the same, which say what to set.
_NOT_ACCEPTED = re.compile(
    r"the licence of (?P<package>\S+) \((?P<licence>[^)]*)\) is not accepted: (?P<remedy>.*)"
)
_VERSION = re.compile(r"-[0-9].*")
# What the flake's `anyLicence` says of each package that it lets through.
_TOLD = re.compile(r"^trace: needs unfree: (\S+)$", re.MULTILINE)


class State(StrEnum):
    """What became of one evaluation."""

    OK = "ok"
    NEEDS_UNFREE = "needs_unfree"
    FAILED = "failed"


class Kind(StrEnum):
    """What was evaluated."""

    MACHINE = "machine"
    OVERLAYS = "overlays"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True)
class FlakeFinding:
    """One thing that was evaluated, and what Nix said of it.

    Args:
        kind: what it is.
        name: the machine's name in the inventory, or `<system>.<attribute>`.
        state: how it went.
        detail: what came of it, or Nix's last error.
        hint: what to do about it; empty if nothing is known.
        command: what to run to see it again; empty if all is well.
    """

    kind: Kind
    name: str
    state: State
    detail: str
    hint: str = ""
    command: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the fleet can do with it: a refused package that nobody uses is no defect."""
        refused = self.state is State.NEEDS_UNFREE and self.kind is Kind.PACKAGE
        return self.state is State.OK or refused


async def check_machine(
    shell: Shell, flake: FlakeRef, host: str
) -> tuple[FlakeFinding, DerivationPath | None]:
    """Instantiate a machine's system, with the llama.cpp that was last chosen for it."""
    result = await instantiated(shell, flake, f'orchestrate."{host}".toplevel')
    if result.returncode != 0:
        return _failed(Kind.MACHINE, host, result), None
    ((derivation, toplevel),) = nix.parse_instantiated(result.stdout)
    return FlakeFinding(Kind.MACHINE, host, State.OK, store_name(toplevel)), derivation


async def check_overlays(shell: Shell, flake: FlakeRef, host: str) -> FlakeFinding:
    """Apply each overlay of a machine to the machine's own pkgs."""
    command = nix.evaluate_json(flake.directory, f'orchestrate."{host}".overlays')
    result = await shell.run(command)
    if result.returncode != 0:
        return _failed(Kind.OVERLAYS, host, result)
    defined = [", ".join(_names(overlay)) or "nothing" for overlay in _list(result)]
    detail = f"{len(defined)}: {'; '.join(defined)}" if defined else "none"
    return FlakeFinding(Kind.OVERLAYS, host, State.OK, detail)


async def package_names(shell: Shell, flake: FlakeRef, system: str) -> tuple[str, ...]:
    """List the variants that the flake has for a system.

    Raises:
        CommandError: the flake can't say.
        PayloadError: Nix printed something else.
    """
    command = nix.evaluate_json(flake.directory, f"packages.{system}", "builtins.attrNames")
    result = await shell.run(command)
    return _names(
        _list(result.check(Stage.CHECK_FLAKE, f"the packages of {system} do not evaluate"))
    )


async def check_package(shell: Shell, flake: FlakeRef, system: str, name: str) -> FlakeFinding:
    """Instantiate one variant's package."""
    result = await instantiated(shell, flake, f'packages.{system}."{name}"')
    subject = f"{system}.{name}"
    if result.returncode == 0:
        ((_, output),) = nix.parse_instantiated(result.stdout)
        return FlakeFinding(Kind.PACKAGE, subject, State.OK, store_name(output))
    if _refusal(last_error(result.stderr)) is None:
        return _failed(Kind.PACKAGE, subject, result)
    asking = nix.instantiate(flake.directory, (f'legacyPackages.{system}.anyLicence."{name}"',))
    told = _TOLD.findall((await shell.run(nix.without_evaluation_cache(asking))).stderr)
    return _failed(Kind.PACKAGE, subject, result, told)


async def system_of(shell: Shell, derivation: DerivationPath) -> str:
    """Return which system a derivation is for.

    Raises:
        CommandError: the evaluator doesn't have it.
        PayloadError: it answers something else.
    """
    result = await shell.run(script("stages/evaluate/system_of.sh", derivation=derivation))
    answer = answer_of(result, Stage.CHECK_FLAKE, "a derivation's system can't be read")
    return answer.one("system", Stage.CHECK_FLAKE)


def _failed(kind: Kind, name: str, result: CommandResult, told: Iterable[str] = ()) -> FlakeFinding:
    line = result.command.line()
    why = last_error(result.stderr)
    refused = _refusal(why)
    if refused is None:
        why = why or f"nix ended with exit code {result.returncode}"
        hint = hint_for(result.stderr) or "run the command with --show-trace"
        return FlakeFinding(kind, name, State.FAILED, why, hint, line)
    remedy = refused.groupdict().get("remedy", "")
    found = {*told} if remedy else {_VERSION.sub("", refused["package"]), *told}
    packages = ", ".join(sorted(found)) or refused["package"]
    detail = f"needs unfree: {packages} ({refused['licence']})"
    hint = "; or ".join(part for part in (remedy, _allowing(sorted(found))) if part)
    return FlakeFinding(kind, name, State.NEEDS_UNFREE, detail, hint, line)


def _refusal(why: str) -> re.Match[str] | None:
    return _NOT_ACCEPTED.search(why) or _REFUSED.search(why)


def _allowing(packages: Sequence[str]) -> str:
    """Say what a machine's configuration has to accept, and no more than that."""
    if not packages:
        return ""
    listed = " ".join(json.dumps(package) for package in packages)
    return (
        "in the machine's configuration: nixpkgs.config.allowUnfreePredicate = "
        f"package: builtins.elem (lib.getName package) [ {listed} ];"
    )


def _list(result: CommandResult) -> list[object]:
    """Read a JSON array.

    Raises:
        PayloadError: it is none.
    """
    try:
        read = json.loads(result.stdout)
    except ValueError as error:
        message = f"nix eval --json printed something else: {result.stdout[:120]!r}"
        raise PayloadError(message) from error
    if not isinstance(read, list):
        message = f"nix eval --json printed no array: {result.stdout[:120]!r}"
        raise PayloadError(message)
    return read


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(name) for name in value) if isinstance(value, list) else (str(value),)
