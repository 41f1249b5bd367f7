"""What Nix made of this very flake before, so that nobody asks it again.

Nix remembers too, but is a process for each host to ask, and up to 2.26 forgets
what a `path:` flake came to. Evaluation is pure: the flake's files, and a lock file
that pins each input by its content, decide all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from orchestrator import nix
from orchestrator.errors import CommandError, PayloadError
from orchestrator.model.plan import Evaluation
from orchestrator.model.stage import Stage
from orchestrator.model.store import parse_derivation_path, parse_store_path
from orchestrator.scripts import ScriptExit, read
from orchestrator.stages.store_contents import lacking

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.model.plan import FlakeRef
    from orchestrator.transport.shell import Shell


@dataclass(frozen=True, slots=True)
class CachedEvaluations:
    """The evaluations of one state of a flake, named by its fingerprint."""

    fingerprint: str
    hosts: dict[str, Evaluation]


async def fingerprint(shell: Shell, flake: FlakeRef) -> str:
    """Name what the flake evaluates to; empty if an input isn't pinned by its content."""
    result = await shell.run(nix.hash_flake(flake.directory))
    answer = read(result)
    pinned = answer.end is ScriptExit.DONE and is_pinned(answer.text("lock"))
    return answer.get("digest") if pinned else ""


def is_pinned(lock: str) -> bool:
    """Whether a flake.lock names the content of every input. Pure."""
    try:
        found = msgspec.json.decode(lock)
        nodes, root = found["nodes"], found["root"]
        inputs = [node for name, node in nodes.items() if name != root]
        return bool(inputs) and all(node["locked"]["narHash"] for node in inputs)
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return False


async def recall(shell: Shell, file: Path, mark: str) -> dict[str, Evaluation]:
    """Return what is known of the flake of this fingerprint, if its derivations are still there.

    A garbage collection takes derivations away, which a build would miss.
    """
    known = read_evaluations(file)
    if not mark or known is None or known.fingerprint != mark:
        return {}
    derivations = {
        name: tuple(drv for drv in (one.toplevel_drv, one.llama_drv) if drv is not None)
        for name, one in known.hosts.items()
    }
    asked = tuple(drv for drvs in derivations.values() for drv in drvs)
    try:
        gone = frozenset(await lacking(shell, asked, Stage.EVALUATE))
    except CommandError:
        return {}
    return {name: one for name, one in known.hosts.items() if gone.isdisjoint(derivations[name])}


def read_evaluations(file: Path) -> CachedEvaluations | None:
    """Read what was kept; what can't be read, or names what is no store path, is nothing."""
    try:
        found = msgspec.json.decode(file.read_bytes(), type=CachedEvaluations)
        for one in found.hosts.values():
            _check(one)
    except (OSError, msgspec.DecodeError, PayloadError):
        return None
    return found


def _check(evaluation: Evaluation) -> None:
    for derivation in (evaluation.toplevel_drv, evaluation.llama_drv):
        if derivation is not None:
            parse_derivation_path(derivation)
    for path in (evaluation.toplevel, evaluation.llama, *evaluation.boot_parts.values()):
        if path is not None:
            parse_store_path(path)


def save_evaluations(file: Path, mark: str, hosts: Mapping[str, Evaluation]) -> None:
    """Keep the evaluations of a flake; a reader finds the old file or the new one."""
    if not mark or not hosts:
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = file.with_suffix(".new")
    part.write_bytes(msgspec.json.encode(CachedEvaluations(mark, dict(hosts))))
    part.replace(file)
