"""Let hosts share one GPU build: compile it for the GPUs of all of them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# CUDA Toolkit Release Notes: CUDA 13 compiles for 7.5 and newer.
_OLDEST_OF_CUDA_13 = (7, 5)


@dataclass(frozen=True, slots=True)
class BuildTargets:
    """What one host's build is, and the GPUs it compiles for.

    `package` is all that must be equal for two hosts to share a derivation, the
    targets aside.
    """

    package: tuple[str, ...]
    targets: tuple[str, ...]


def share_targets(wishes: Mapping[str, BuildTargets]) -> dict[str, BuildTargets]:
    """Return every host the targets of all hosts whose package it shares.

    Two kinds of hosts stay apart. One whose GPUs aren't known compiles for every
    GPU there is, which would cost the others hours. One with a GPU that CUDA 13
    has dropped would break the others' build if nixpkgs has moved on.
    """
    together: dict[tuple[tuple[str, ...], bool], set[str]] = {}
    for wish in wishes.values():
        together.setdefault(_group(wish), set()).update(wish.targets)
    return {
        host: replace(wish, targets=in_order(together[_group(wish)])) if wish.targets else wish
        for host, wish in wishes.items()
    }


def in_order(targets: set[str]) -> tuple[str, ...]:
    """Sort as people do: 9.0 before 10.0, gfx90a before gfx1100."""
    return tuple(sorted(targets, key=lambda target: (_numbers(target), target)))


def _group(wish: BuildTargets) -> tuple[tuple[str, ...], bool]:
    old = any("." in name and _numbers(name) < _OLDEST_OF_CUDA_13 for name in wish.targets)
    return wish.package, old


def _numbers(target: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", target))
