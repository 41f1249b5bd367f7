"""The ledger of builds on a real server: one builder a derivation, and what is remembered."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchestrator.deploy.perform.build import candidates
from orchestrator.errors import PayloadError
from orchestrator.model.ledger import Ledger, RunningBuild
from orchestrator.state.build_ledger import BuildLedger
from tasks.broker import open_client
from tests.plans import Wanted, derivation, make_plan

if TYPE_CHECKING:
    from tests.engine.conftest import Engine

CUDA = derivation("llama-cpp-cuda-0.0.0")


@pytest.fixture
def ledger(engine: Engine) -> BuildLedger:
    """Return a ledger whose leases are short."""
    return BuildLedger(open_client(engine.broker), lease_seconds=0.4)


def test_two_controllers_take_one_builder(ledger: BuildLedger) -> None:
    """Who comes second is sent to the builder that the first one took."""
    assert ledger.take(CUDA, "forge") == "forge"
    assert ledger.take(CUDA, "anvil") == "forge"
    assert [build.builder for build in ledger.read().running] == ["forge"]


def test_a_lost_builder_is_replaced_once(ledger: BuildLedger) -> None:
    """Of two that lose a builder the first moves the build, and the second follows it."""
    ledger.take(CUDA, "forge")
    assert ledger.take(CUDA, "anvil", instead_of="forge") == "anvil"
    assert ledger.take(CUDA, "smithy", instead_of="forge") == "anvil"


def test_a_lease_that_is_not_renewed_ends(ledger: BuildLedger) -> None:
    """A follower keeps the lease; without one another builder can be taken."""
    ledger.take(CUDA, "forge")
    with ledger.following(CUDA, "run-1"):
        time.sleep(0.8)
        assert ledger.take(CUDA, "anvil") == "forge"
    time.sleep(0.8)
    assert ledger.take(CUDA, "anvil") == "anvil"


def test_a_build_is_wanted_while_another_run_follows_it(ledger: BuildLedger) -> None:
    """One run's end leaves the build to the others that follow it."""
    with ledger.following(CUDA, "run-1"):
        time.sleep(0.1)
        assert not ledger.wanted_by_others(CUDA, "run-1")
        with ledger.following(CUDA, "run-2"):
            time.sleep(0.1)
            assert ledger.wanted_by_others(CUDA, "run-1")
        assert not ledger.wanted_by_others(CUDA, "run-1")


def test_ends_are_remembered(ledger: BuildLedger) -> None:
    """Success leaves its time by name and builder and forgets failures; nothing runs after."""
    ledger.take(CUDA, "forge")
    ledger.failed(CUDA, "it is wet paint")
    ledger.let_down("forge", "its disk is full")
    told = ledger.read()
    assert told.failed == {CUDA: "it is wet paint"}
    assert told.broken == {"forge": "its disk is full"}
    assert told.running == ()
    ledger.succeeded(CUDA, "forge", 2400.0)
    told = ledger.read()
    assert (told.failed, told.broken) == ({}, {})
    assert told.seconds == {"llama-cpp-cuda-0.0.0": {"forge": 2400.0}}


def test_a_damaged_entry_is_one_clear_error(ledger: BuildLedger) -> None:
    """A foreign value in the ledger is named, with how to be rid of it."""
    ledger.client.hset("orchestrate:builds:failed", CUDA, b"{")
    with pytest.raises(PayloadError, match="orchestrate:builds:failed") as caught:
        ledger.read()
    assert "DEL orchestrate:builds:failed" in caught.value.hint


def test_candidates_begin_where_the_build_runs() -> None:
    """First where it runs, then where its package was made; who broke comes last."""
    (llama, _) = make_plan(Wanted("carbon")).builds
    running = RunningBuild(llama.derivation, "third", 0.0)
    build = replace(llama, builder="builder", fallbacks=("second", "third"))
    assert candidates(build, Ledger(), None) == ["builder", "second", "third"]
    assert candidates(build, Ledger(), "second")[0] == "second"
    assert candidates(build, Ledger(running=(running,)), "second")[0] == "third"
    assert candidates(build, Ledger(broken={"builder": "full"}), None)[-1] == "builder"
