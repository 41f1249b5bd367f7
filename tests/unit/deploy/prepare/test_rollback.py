"""Where a rollback by hand goes: a generation, or what a run had left."""

from __future__ import annotations

import pytest

from orchestrator.deploy.prepare.rollback import StateAfterRun
from orchestrator.errors import PlanError
from orchestrator.model.report import HostResult, Outcome
from orchestrator.stages.plan.generations import Generation, Generations, generation_before
from tests.plans import output

LISTED = tuple(Generation(number, output(f"system-{number}")) for number in (3, 4, 7))
GENERATIONS = Generations(LISTED, 7)


def test_a_run_says_what_it_left() -> None:
    """Deployed or put back, the host goes to where it was in the end."""
    left = {"carbon": HostResult(Outcome.ROLLED_BACK, current=output("old"))}
    assert StateAfterRun("run-1", left).system_of("carbon") == output("old")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("boron", "run run-1 did not include this host"),
        ("neon", "does not know which system it ran"),
    ],
)
def test_what_a_run_did_not_leave_is_refused(host: str, message: str) -> None:
    """A host that it wasn't of, or lost sight of, is named with where to look."""
    after = StateAfterRun("run-1", {"neon": HostResult(Outcome.UNREACHABLE)})
    with pytest.raises(PlanError, match=message) as caught:
        after.system_of(host)
    assert caught.value.host == host
    assert caught.value.hint == f"see `orchestrate history {host}` for the runs that did"


@pytest.mark.parametrize(
    ("running", "wanted", "expected"),
    [
        (output("system-7"), None, 4),
        (output("system-4"), None, 3),
        (output("never-confirmed"), None, 7),
        (output("system-7"), 3, 3),
    ],
)
def test_the_generation_before(running: str, wanted: int | None, expected: int) -> None:
    """The newest that is older than what runs, or the one that was asked for."""
    found = generation_before("carbon", GENERATIONS, running, wanted)  # type: ignore[arg-type]
    assert found.number == expected


def test_each_time_one_further_back() -> None:
    """What the profile is counts, and not that a newer generation is the same system."""
    again = Generations((*LISTED, Generation(8, output("system-4"))), 4)
    assert generation_before("carbon", again, output("system-4"), None).number == 3
    with pytest.raises(PlanError, match="no earlier generation"):
        generation_before("carbon", Generations(LISTED, 3), output("system-3"), None)


@pytest.mark.parametrize("wanted", [None, 5])
def test_no_such_generation_lists_those_there_are(wanted: int | None) -> None:
    """Neither something before the oldest, nor a number that was deleted."""
    with pytest.raises(PlanError, match="generation") as caught:
        generation_before("carbon", GENERATIONS, output("system-3"), wanted)
    assert caught.value.hint == "it has: 3, 4, 7"
