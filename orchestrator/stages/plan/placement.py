"""Placement: which builder ends a build first. Pure.

Estimates are rough and only compared with each other: what took long somewhere
takes long everywhere, and faster builders take less. What a builder has already,
or can fetch, is not built at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from inventory.host import Host
from orchestrator.model.facts import Facts
from orchestrator.model.ledger import Ledger
from orchestrator.model.store import DerivationPath, StorePath, derivation_name
from orchestrator.model.store_contents import StoreContents

_HEAVY_FEATURES = frozenset({"cuda", "rocm"})

# Reference-machine figures for a build that nobody has made yet: two cores took
# 10 min for llama.cpp's CPU build (docs/benchmarks.md compiles a part of it in 4)
# and 70 for CUDA's kernels of one GPU generation.
_HEAVY_CORE_SECONDS = 2 * 70 * 60.0
_LIGHT_CORE_SECONDS = 2 * 10 * 60.0

# What nvcc and hipcc take for one job, and what such a build leaves on disk.
_HEAVY_MIB = {"memory": 4096, "disk": 8192}
_LIGHT_MIB = {"memory": 512, "disk": 1024}

# What comes to a builder from elsewhere is thought to come at this rate, in bytes
# per second: a good line, and no more than that.
_COPIED_PER_SECOND = 50e6
_MEGABYTE = 1e6

_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be built: its output, and what building it asks for.

    `features` are those of the system that it needs, `inputs` what it is built from.
    """

    derivation: DerivationPath
    output: StorePath
    features: frozenset[str] = frozenset()
    inputs: frozenset[StorePath] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A builder that answered: its part of the inventory, its facts, what it has."""

    host: Host
    facts: Facts
    store: StoreContents = field(default_factory=StoreContents)

    @property
    def name(self) -> str:
        """The inventory name."""
        return self.host.name

    @property
    def speed(self) -> float:
        """Its cores that others leave free, times the factor that the inventory gives."""
        cores = max(1, self.facts.cpu_count)
        factor = self.host.builder.speed_factor if self.host.builder else 1.0
        return factor * cores / (1 + self.facts.load_average / cores)


@dataclass(frozen=True, slots=True)
class Estimate:
    """When a builder would have a build done: seconds of waiting and of building.

    `copied` are the bytes that must come to it first. With `is_available` it has
    the output then, and builds nothing; with `is_there` it has it now.
    """

    builder: str
    waiting: float
    building: float
    basis: str
    copied: int = 0
    is_available: bool = False
    is_there: bool = False

    @property
    def copying(self) -> float:
        """Seconds until what it needs is there."""
        return self.copied / _COPIED_PER_SECOND

    @property
    def work(self) -> float:
        """Seconds that it keeps its builder busy."""
        return self.copying + self.building

    @property
    def total(self) -> float:
        """Seconds from now."""
        return self.waiting + self.work

    def words(self) -> str:
        """Say it for the plan."""
        megabytes = f"{self.copied / _MEGABYTE:.0f} MB" if self.copied >= _MEGABYTE else ""
        if self.is_available:
            return f"{self.basis} ({megabytes})" if megabytes else self.basis
        waits = f", after {_duration(self.waiting)} of others" if self.waiting else ""
        copies = f", after {megabytes} are copied" if megabytes else ""
        return f"about {_duration(self.building)} there ({self.basis}){waits}{copies}"


@dataclass(frozen=True, slots=True)
class PlacementContext:
    """The builders that fit, what earlier runs know, and what this plan has placed.

    `assigned` maps a builder to the seconds of each build it was given already.
    """

    candidates: tuple[Candidate, ...]
    ledger: Ledger = field(default_factory=Ledger)
    assigned: Mapping[str, Sequence[float]] = field(default_factory=dict)


def lacks_room(facts: Facts, features: frozenset[str]) -> str:
    """Say which of memory and disk is too short for a build; empty if neither is."""
    needed = _HEAVY_MIB if features & _HEAVY_FEATURES else _LIGHT_MIB
    if facts.store_free_mib < needed["disk"]:
        return f"its store has {facts.store_free_mib} MiB left, and {needed['disk']} are needed"
    if facts.memory_mib < needed["memory"]:
        return f"it has {facts.memory_mib} MiB of memory, and {needed['memory']} are needed"
    return ""


def rank(wanted: Wanted, situation: PlacementContext) -> tuple[Estimate, ...]:
    """CopyRequest builders by when they would have a build done, the best first.

    Those that have it, or can fetch it, come before all, then the one where it
    runs already; those that have just let a build down come last.

    Args:
        wanted: what is to be built.
        situation: the builders that fit, and what they have to do.
    """
    ledger = situation.ledger
    running = {build.builder for build in ledger.running if build.derivation == wanted.derivation}
    estimates = [_estimate(wanted, candidate, situation) for candidate in situation.candidates]
    return tuple(
        sorted(
            estimates,
            key=lambda one: (
                not one.is_available,
                one.builder not in running,
                one.builder in ledger.broken,
                one.total,
                one.builder,
            ),
        )
    )


def reason_for(best: Estimate, others: Sequence[Estimate], ledger: Ledger) -> str:
    """Say why a builder was chosen, and what the others would have taken."""
    if best.is_available:
        return best.words()
    said = best.words()
    if best.builder in ledger.broken:
        said = f"{said}; no other fits, though it let a build down: {ledger.broken[best.builder]}"
    for other in others:
        broken = ledger.broken.get(other.builder)
        then = f"passed over: {broken}" if broken else _duration(other.total)
        said = f"{said}; {other.builder}: {then}"
    return said


def _estimate(wanted: Wanted, candidate: Candidate, situation: PlacementContext) -> Estimate:
    if wanted.output in candidate.store.valid:
        basis = "it is there already"
        return Estimate(candidate.name, 0.0, 0.0, basis, is_available=True, is_there=True)
    if wanted.output in candidate.store.substitutable:
        basis = f"a substituter of {candidate.name} has it"
        download = candidate.store.download
        return Estimate(candidate.name, 0.0, 0.0, basis, download, is_available=True)
    name = derivation_name(wanted.derivation)
    building, basis = _building(name, wanted.features, candidate, situation)
    others = [
        # What another run builds there is known by its name alone.
        _building(derivation_name(build.derivation), frozenset(), candidate, situation)[0]
        for build in situation.ledger.running
        if build.builder == candidate.name and build.derivation != wanted.derivation
    ]
    jobs = candidate.host.builder.max_jobs if candidate.host.builder else 1
    waiting = sum((*others, *situation.assigned.get(candidate.name, ()))) / max(1, jobs)
    return Estimate(
        candidate.name, waiting, building, basis, _lacking(wanted, candidate, situation)
    )


def _lacking(wanted: Wanted, candidate: Candidate, situation: PlacementContext) -> int:
    """Return the bytes of the inputs that others have and this builder hasn't.

    What no builder has makes no difference between them.
    """
    sizes: dict[StorePath, int] = {}
    for other in situation.candidates:
        sizes |= other.store.valid
    return sum(
        sizes[path] for path in wanted.inputs if path in sizes and path not in candidate.store.valid
    )


def _building(
    name: str, features: frozenset[str], candidate: Candidate, situation: PlacementContext
) -> tuple[float, str]:
    """Return how long it takes there, and how that is known."""
    known = situation.ledger.seconds.get(name, {})
    if candidate.name in known:
        return known[candidate.name], "as last time"
    elsewhere = [
        (known[other.name] * other.speed / candidate.speed, other.name)
        for other in situation.candidates
        if other.name in known
    ]
    if elsewhere:
        seconds, other = min(elsewhere)
        return seconds, f"from its time on {other}"
    work = _HEAVY_CORE_SECONDS if features & _HEAVY_FEATURES else _LIGHT_CORE_SECONDS
    return work / candidate.speed, "a guess: no builder has built it yet"


def _duration(seconds: float) -> str:
    return f"{seconds / _MINUTE:.0f} min" if seconds >= 2 * _MINUTE else f"{seconds:.0f} s"
