"""Where a build ends first, by what is known of builds and builders."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inventory.host import Builder, Connection, Host
from orchestrator.model.ledger import Ledger, RunningBuild
from orchestrator.model.store_contents import StoreContents
from orchestrator.stages.plan.placement import (
    Candidate,
    PlacementContext,
    Wanted,
    lacks_room,
    rank,
    reason_for,
)
from tests.plans import derivation, facts, output

LLAMA = derivation("llama-cpp-0.0.0")
OTHER = derivation("llama-cpp-vulkan-0.0.0")
NAME = "llama-cpp-0.0.0"
PLAIN = frozenset({"big-parallel"})
CUDA = frozenset({"cuda"})
OUTPUT = output("llama-cpp-0.0.0")
WANTED = Wanted(LLAMA, OUTPUT, PLAIN)


def candidate(name: str, cores: int = 4, jobs: int = 1, speed: float = 1.0) -> Candidate:
    """Give a builder with so many cores."""
    builder = Builder(("x86_64-linux",), max_jobs=jobs, speed_factor=speed)
    host = Host(name, Connection(name), nixos_name=name, builder=builder)
    return Candidate(host, replace(facts(name), cpu_count=cores))


PAIR = (candidate("anvil"), candidate("forge"))


@pytest.mark.parametrize(
    ("ledger", "assigned", "chosen"),
    [
        (Ledger(), {}, "anvil"),
        (Ledger(seconds={NAME: {"anvil": 900.0, "forge": 300.0}}), {}, "forge"),
        (Ledger(seconds={NAME: {"forge": 300.0}}), {}, "anvil"),
        (Ledger(), {"anvil": (600.0,)}, "forge"),
        (Ledger(running=(RunningBuild(OTHER, "anvil", 0.0),)), {}, "forge"),
        (Ledger(running=(RunningBuild(LLAMA, "forge", 0.0),)), {"forge": (9e9,)}, "forge"),
        (Ledger(broken={"anvil": "its disk is full"}), {"forge": (9e9,)}, "forge"),
    ],
    ids=["name", "history", "scaled", "this plan", "other runs", "runs there", "broken"],
)
def test_the_builder_that_ends_first_is_chosen(
    ledger: Ledger, assigned: dict[str, tuple[float, ...]], chosen: str
) -> None:
    """History, queues and what runs already decide; who let a build down comes last."""
    best, *others = rank(WANTED, PlacementContext(PAIR, ledger, assigned))
    assert best.builder == chosen
    assert {best.builder, *(other.builder for other in others)} == {"anvil", "forge"}


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (StoreContents(valid={OUTPUT: 12_000_000}), "it is there already"),
        (StoreContents(substitutable=frozenset({OUTPUT})), "a substituter of forge has it"),
    ],
    ids=["valid", "substitutable"],
)
def test_what_is_there_is_not_built(contents: StoreContents, reason: str) -> None:
    """Whoever has it, or can fetch it, comes before faster and idle builders."""
    busy = replace(candidate("forge", cores=1), store=contents)
    situation = PlacementContext((candidate("anvil", cores=64), busy), assigned={"forge": (9e9,)})
    best, *others = rank(WANTED, situation)
    assert (best.builder, best.is_available) == ("forge", True)
    assert reason_for(best, others, Ledger()) == reason
    assert best.total < 1


def test_what_is_valid_is_better_than_what_is_fetched() -> None:
    """A copy from a substituter takes its time by its size; what is there takes none."""
    fetching = StoreContents(substitutable=frozenset({OUTPUT}), download=500_000_000)
    pair = (
        replace(candidate("anvil"), store=fetching),
        replace(candidate("forge"), store=StoreContents(valid={OUTPUT: 1})),
    )
    best, other = rank(WANTED, PlacementContext(pair))
    assert (best.builder, other.total) == ("forge", 10.0)


@pytest.mark.parametrize(
    ("on_anvil", "on_forge", "chosen", "copied"),
    [
        ({"nvcc": 4_000_000_000}, {}, "anvil", 0),
        ({}, {"nvcc": 4_000_000_000}, "forge", 0),
        ({"nvcc": 4_000_000_000}, {"cublas": 2_000_000_000}, "anvil", 2_000_000_000),
        ({}, {}, "anvil", 0),
        ({}, {"other": 4_000_000_000}, "anvil", 0),
    ],
    ids=["there", "elsewhere", "less to copy", "nobody has any", "not needed"],
)
def test_what_must_be_copied_first_counts(
    on_anvil: dict[str, int], on_forge: dict[str, int], chosen: str, copied: int
) -> None:
    """Of equal builders the one with the inputs is chosen, by the bytes that it lacks."""
    wanted = replace(WANTED, inputs=frozenset({output("nvcc"), output("cublas")}))
    pair = tuple(
        replace(
            candidate(name),
            store=StoreContents(valid={output(path): size for path, size in there.items()}),
        )
        for name, there in (("anvil", on_anvil), ("forge", on_forge))
    )
    best = rank(wanted, PlacementContext(pair))[0]
    assert (best.builder, best.copied) == (chosen, copied)


def test_copies_are_told_in_megabytes() -> None:
    """At 50 MB/s, 120 MB delay a build by little; the reason tells of them all the same."""
    wanted = replace(WANTED, inputs=frozenset({output("nvcc")}))
    with_it = replace(candidate("forge"), store=StoreContents(valid={output("nvcc"): 120_000_000}))
    known = Ledger(seconds={NAME: {"anvil": 600.0, "forge": 700.0}})
    best, *others = rank(wanted, PlacementContext((candidate("anvil"), with_it), known))
    assert best.copying == pytest.approx(2.4)
    assert reason_for(best, others, known) == (
        "about 10 min there (as last time), after 120 MB are copied; forge: 12 min"
    )
    fetching = StoreContents(substitutable=frozenset({OUTPUT}), download=7_000_000)
    fetched = replace(candidate("forge"), store=fetching)
    assert rank(WANTED, PlacementContext((fetched,)))[0].words() == (
        "a substituter of forge has it (7 MB)"
    )


def test_a_time_elsewhere_is_scaled_by_speed() -> None:
    """A builder of twice the cores is thought to take half the time."""
    known = Ledger(seconds={NAME: {"anvil": 1000.0}})
    pair = (candidate("anvil", cores=4), candidate("forge", cores=8))
    best = rank(WANTED, PlacementContext(pair, known))[0]
    assert (best.builder, best.building) == ("forge", 500.0)


def test_jobs_at_a_time_share_the_queue() -> None:
    """A builder of four jobs has waited a quarter as long."""
    pair = (candidate("anvil"), candidate("forge", jobs=4))
    queues = {"anvil": (400.0,), "forge": (400.0,)}
    assert rank(WANTED, PlacementContext(pair, assigned=queues))[0].builder == "forge"


def test_a_gpu_build_is_thought_to_be_heavy() -> None:
    """Nobody has built it: CUDA takes several times what the CPU build takes."""
    light = rank(WANTED, PlacementContext(PAIR))[0]
    heavy = rank(replace(WANTED, features=CUDA), PlacementContext(PAIR))[0]
    assert heavy.building > 5 * light.building


def test_the_reason_has_figures_and_the_alternatives() -> None:
    """The plan says how long it takes, how that is known, and what others would take."""
    known = Ledger(
        seconds={NAME: {"anvil": 600.0, "forge": 1200.0}}, broken={"smithy": "its disk is full"}
    )
    best, *others = rank(WANTED, PlacementContext((*PAIR, candidate("smithy")), known))
    assert reason_for(best, others, known) == (
        "about 10 min there (as last time); forge: 20 min; smithy: passed over: its disk is full"
    )


def test_a_builder_without_room_does_not_fit() -> None:
    """A GPU build wants gigabytes of disk and memory; the reason says how much is there."""
    small = replace(facts("forge"), store_free_mib=5000, memory_mib=2048)
    assert lacks_room(small, PLAIN) == ""
    assert lacks_room(small, CUDA) == "its store has 5000 MiB left, and 8192 are needed"
    roomy = replace(small, store_free_mib=50_000)
    assert lacks_room(roomy, CUDA) == "it has 2048 MiB of memory, and 4096 are needed"
