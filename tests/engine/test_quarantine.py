"""What failed a smoke is remembered on a real server, and refused when a plan is made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import PayloadError
from orchestrator.model.report import Fault, SmokeReport
from orchestrator.stages.plan.quarantine import refusal
from orchestrator.state.quarantine import Quarantine
from tasks.broker import open_client
from tests.plans import Wanted, facts, host_plan, output

if TYPE_CHECKING:
    from tests.engine.conftest import Engine

CARBON = host_plan(Wanted("carbon")).evaluation
BORON = host_plan(Wanted("boron")).evaluation
SYSTEM, PACKAGE = CARBON.toplevel, output("llama-shared")


@pytest.fixture
def quarantine(engine: Engine) -> Quarantine:
    """Return a quarantine with nothing in it."""
    return Quarantine(open_client(engine.broker))


def smoke(fault: Fault | None) -> SmokeReport:
    """Return carbon's report: a good one, or a crash that speaks against this."""
    failure = "llama-cli exited with 139" if fault else ""
    return SmokeReport("carbon", not fault, None, "", None, None, "", failure, fault=fault)


@pytest.mark.parametrize(
    ("fault", "paths"),
    [
        (Fault.HOST, ()),
        (Fault.SYSTEM, (SYSTEM,)),
        (Fault.PACKAGE, (SYSTEM, PACKAGE)),
        (None, ()),
    ],
)
def test_a_smoke_quarantines_what_it_speaks_against(
    quarantine: Quarantine, fault: Fault | None, paths: tuple[str, ...]
) -> None:
    """The system unless the smoke itself could not be run, its package where that is to blame."""
    assert quarantine.put(smoke(fault), CARBON, "run-1") == paths
    found = quarantine.read()
    assert set(found) == set(paths)
    assert {(entry.run, entry.host) for entry in found.values()} <= {("run-1", "carbon")}


def test_a_later_good_smoke_clears_it(quarantine: Quarantine) -> None:
    """The same system and package that pass are let go of, and nothing else is."""
    quarantine.put(smoke(Fault.PACKAGE), CARBON, "run-1")
    quarantine.put(replace(smoke(Fault.SYSTEM), host="boron"), BORON, "run-1")
    quarantine.release(CARBON)
    assert set(quarantine.read()) == {BORON.toplevel}


def test_an_earlier_generation_has_no_package_to_blame(quarantine: Quarantine) -> None:
    """Of a system whose package isn't known only the system is quarantined."""
    earlier = replace(CARBON, llama_drv=None, llama=None)
    assert quarantine.put(smoke(Fault.PACKAGE), earlier, "run-1") == (SYSTEM,)
    quarantine.release(earlier)
    assert quarantine.read() == {}


def test_who_would_get_it_is_refused(quarantine: Quarantine) -> None:
    """The host itself and any other with that package are told where it failed, and how."""
    quarantine.put(smoke(Fault.PACKAGE), CARBON, "run-1")
    known = quarantine.read()
    for evaluation, name in ((CARBON, "system-carbon"), (BORON, "llama-shared")):
        error = refusal(facts(evaluation.host), evaluation, known)
        assert error is not None
        assert error.host == evaluation.host
        assert error.message == (
            f"it would get {name}, which failed its smoke test on carbon in run run-1:"
            " llama-cli exited with 139"
        )
        assert "--again" in error.hint


def test_who_runs_the_package_already_gets_nothing_new(quarantine: Quarantine) -> None:
    """One machine's broken GPU doesn't hold up a change on those where the package works."""
    quarantine.put(smoke(Fault.PACKAGE), CARBON, "run-1")
    runs_it = replace(facts("boron"), llama_cli=f"{PACKAGE}/bin/llama-cli")
    assert refusal(runs_it, BORON, quarantine.read()) is None
    assert refusal(runs_it, CARBON, quarantine.read()) is not None


def test_a_damaged_entry_is_one_clear_error(quarantine: Quarantine) -> None:
    """A foreign value there is named, with how to be rid of it."""
    quarantine.client.hset("orchestrate:quarantine", PACKAGE, b"{")
    with pytest.raises(PayloadError, match="orchestrate:quarantine") as caught:
        quarantine.read()
    assert "DEL orchestrate:quarantine" in caught.value.hint
