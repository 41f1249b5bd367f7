"""Closures: store paths with what they refer to, in the order in which they can arrive."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from orchestrator.errors import PayloadError
from orchestrator.model.store import StorePath

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class PathInfo:
    """What a store knows of a path: its bytes, unpacked, and the paths in its contents."""

    path: StorePath
    size: int
    references: frozenset[StorePath]


def closure_of(
    roots: Iterable[StorePath], infos: Mapping[StorePath, PathInfo]
) -> tuple[PathInfo, ...]:
    """Return the roots and all that they refer to, dependencies first. Pure.

    Args:
        roots: where the closure begins.
        infos: what a store said, of more paths perhaps.

    Raises:
        PayloadError: it said nothing of a path that another one refers to.
    """
    needs: dict[StorePath, frozenset[StorePath]] = {}
    waiting = list(roots)
    while waiting:
        path = waiting.pop()
        if path in needs:
            continue
        if path not in infos:
            message = f"a store was asked for a closure, and said nothing of {path}"
            raise PayloadError(message)
        needs[path] = infos[path].references - {path}
        waiting.extend(needs[path])
    try:
        return tuple(infos[path] for path in TopologicalSorter(needs).static_order())
    except CycleError as error:
        message = f"a store was asked for a closure, and said that {error.args[1][0]} needs itself"
        raise PayloadError(message) from error
