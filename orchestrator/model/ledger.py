"""What earlier runs and other controllers know of builds and builders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.model.store import DerivationPath, StorePath


@dataclass(frozen=True, slots=True)
class RunningBuild:
    """A build that somebody has begun: on which builder, and since when.

    `started_at` is in seconds since the epoch, by the server's clock.
    """

    derivation: DerivationPath
    builder: str
    started_at: float


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A system or a package that failed a smoke: in which run, where, how, when.

    `at` is in seconds since the epoch, by the server's clock.
    """

    run: str
    host: str
    failure: str
    at: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """One reading of the ledger in Redis; empty if nothing was ever built.

    `seconds` maps a derivation's name (`llama-cpp-cuda-0.0.0`, without hash and
    `.drv`) to a builder's name to how long the last build took there.
    `running` are the builds of all runs and controllers that go on now.
    `broken` maps a builder that is kept out for a while to the reason.
    `failed` maps a derivation that truly failed to build to what Nix said.
    `quarantined` are the systems and packages that failed a smoke.
    """

    seconds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    running: tuple[RunningBuild, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[DerivationPath, str] = field(default_factory=dict)
    quarantined: Mapping[StorePath, Quarantined] = field(default_factory=dict)
