"""Queues are capabilities: the name of one says what its workers can do."""

from __future__ import annotations

from itertools import chain, combinations
from typing import TYPE_CHECKING

from inventory.suggestion import did_you_mean
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

DEPLOY = "deploy"
"""Every step on a target."""

SYSTEMS = (
    "x86_64-linux",
    "aarch64-linux",
    "armv7l-linux",
    "i686-linux",
    "powerpc64le-linux",
    "riscv64-linux",
)
"""The systems of Linux machines that nixpkgs has packages for."""

FEATURES = ("cuda", "rocm")
"""What of a build's system features makes a queue of its own.

The rest (`big-parallel`, `gccarch-x86-64-v3`) says which builder fits, which the
plan has decided; any worker of the system can follow such a build.
"""


def build_queue(system: str, features: Iterable[str]) -> str:
    """Name the queue of a build: `build.<system>[.cuda][.rocm]`."""
    wanted = set(features)
    return ".".join(("build", system, *(name for name in FEATURES if name in wanted)))


QUEUES = (
    DEPLOY,
    *(
        build_queue(system, features)
        for system in SYSTEMS
        for features in chain(*(combinations(FEATURES, n) for n in range(len(FEATURES) + 1)))
    ),
)
"""Every queue there is; a private worker serves them all."""


def parse_queues(text: str) -> tuple[str, ...]:
    """Read names of queues, separated by commas; each is given once.

    Features may come in any order.

    Raises:
        UsageError: one is no queue, or there is none.
    """
    given = [part.strip() for part in text.split(",")]
    return tuple(dict.fromkeys(_parse(name) for name in given))


def _parse(name: str) -> str:
    kind, _, rest = name.partition(".")
    system, *features = rest.split(".")
    known = kind == "build" and system in SYSTEMS and set(features) <= set(FEATURES)
    if known and len(set(features)) == len(features):
        return build_queue(system, features)
    if name == DEPLOY:
        return name
    message = f"{name!r} is no queue that a worker can serve"
    form = f"{DEPLOY}, or build.<system> with .cuda or .rocm behind it"
    raise UsageError(message, hint=did_you_mean(name, QUEUES) or f"it is {form}")
