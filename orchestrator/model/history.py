"""What is kept of a run: its header, and the whole of it for later questions."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import Failure
from orchestrator.model.plan import Goal, Origin
from orchestrator.model.report import HostResult, SmokeReport
from orchestrator.model.store import DerivationPath, StorePath


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What a list of runs shows of one, without reading its plan.

    `targets` are the hosts that were asked for, those that were left out too.
    """

    origin: Origin
    goal: Goal
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostRecord:
    """What a run did to one host.

    Args:
        host: its name in the inventory.
        result: how it ended; None if it has not.
        stage: the last stage that it was at, empty if it came to none.
        wanted: the system that it was to get; None if there was no plan.
        reason: why its variant was chosen.
        smoke: what the new system's llama-cli did; None if it wasn't asked.
    """

    host: str
    result: HostResult | None
    stage: str
    wanted: StorePath | None
    reason: str
    smoke: SmokeReport | None


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """What became of one derivation in a run.

    Args:
        derivation: what was to be built.
        output: its store path.
        state: `done`, `failed`, `started`, `sent`, or empty if it never was.
        builder: the builder that built it, or was to.
        seconds: how long it took there; None if it isn't done.
        was_valid: whether it was there already.
        message: what went wrong, in one line.
        failure: the same with all its parts; None if nothing did.
    """

    derivation: DerivationPath
    output: StorePath
    state: str
    builder: str
    seconds: float | None
    was_valid: bool
    message: str
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as it is kept: who, when, what, and what came of it.

    `ended_at` is in seconds since the epoch, None if the run has not ended.
    """

    run: str
    origin: Origin
    goal: Goal
    ended_at: float | None
    hosts: tuple[HostRecord, ...]
    builds: tuple[BuildRecord, ...]
