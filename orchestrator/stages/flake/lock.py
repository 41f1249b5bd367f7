"""Lock: an upgrade's own flake.lock, beside the fleet's until it is known to be good.

The fleet's lock is never touched before that. Whatever dies in between leaves
the old one in its place; nobody has to put it back.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from orchestrator.errors import PayloadError
from orchestrator.model.event import InputLocked
from orchestrator.model.plan import FlakeRef
from orchestrator.model.stage import Stage
from orchestrator.scripts import answer_of, script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.transport.shell import Shell


class _Locked(msgspec.Struct, frozen=True):
    """What an input is locked to; a path has no revision, and an archive no date."""

    rev: str = ""
    narHash: str = ""  # noqa: N815 - flake.lock's name
    lastModified: int = 0  # noqa: N815 - flake.lock's name


class _Node(msgspec.Struct, frozen=True):
    locked: _Locked | None = None
    inputs: dict[str, str | list[str]] = msgspec.field(default_factory=dict)


class _LockFile(msgspec.Struct, frozen=True):
    nodes: dict[str, _Node]
    root: str


async def fork_flake(shell: Shell, flake: FlakeRef, run: str) -> FlakeRef:
    """Copy the flake and its lock to where `run` can lock it anew.

    Raises:
        CommandError: the evaluator can't store it.
    """
    fork = script("stages/flake/fork_flake.sh", directory=flake.directory, run=run)
    answer = answer_of(await shell.run(fork), Stage.EVALUATE, "the flake can't be copied")
    return FlakeRef(answer.one("directory", Stage.EVALUATE))


async def commit_lock(shell: Shell, flake: FlakeRef, run: str) -> None:
    """Make the lock of `run` that of the flake; done again, it changes nothing.

    Raises:
        CommandError: it can't be put there; the old one is.
    """
    commit = script("stages/flake/commit_lock.sh", directory=flake.directory, run=run)
    failed = "the new flake.lock can't be put in its place"
    answer_of(await shell.run(commit), Stage.EVALUATE, failed)


async def drop_lock(shell: Shell, flake: FlakeRef, run: str) -> None:
    """Forget the lock of `run`; what can't be removed now goes in time."""
    await shell.run(script("stages/flake/drop_lock.sh", directory=flake.directory, run=run))


async def read_lock(shell: Shell, flake: FlakeRef) -> str:
    """Return the text of the flake's lock; empty if there is none.

    Raises:
        CommandError: it can't be read.
    """
    done = await shell.run(script("stages/flake/read_lock.sh", directory=flake.directory))
    return answer_of(done, Stage.EVALUATE, "flake.lock can't be read").text("lock")


def input_changes(before: str, after: str, inputs: Sequence[str]) -> tuple[InputLocked, ...]:
    """Compare two locks. Pure.

    Args:
        before: the text of the old flake.lock; empty if there was none.
        after: that of the new one.
        inputs: the names of the inputs to compare.

    Raises:
        PayloadError: one of them is no flake.lock.
    """
    old, new = _locked_inputs(before), _locked_inputs(after)
    return tuple(InputLocked(name, old.get(name, ""), new.get(name, "")) for name in inputs)


def _locked_inputs(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        lock = msgspec.json.decode(text, type=_LockFile)
        own = lock.nodes[lock.root].inputs
    except (msgspec.DecodeError, KeyError) as error:
        message = f"flake.lock can't be read: {error}"
        hint = "remove it to lock every input anew"
        raise PayloadError(message, hint=hint, stage=Stage.EVALUATE) from error
    return {
        name: _version(lock.nodes[node].locked)
        for name, node in own.items()
        if isinstance(node, str) and node in lock.nodes
    }


def _version(locked: _Locked | None) -> str:
    """Return the revision and its day (UTC), or the beginning of the hash of what has none."""
    if locked is None:
        return ""
    short = locked.rev[:9] or locked.narHash.removeprefix("sha256-")[:9]
    if not locked.lastModified:
        return short
    return f"{short} ({time.strftime('%Y-%m-%d', time.gmtime(locked.lastModified))})"
