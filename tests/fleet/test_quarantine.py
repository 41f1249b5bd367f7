"""What failed a smoke on one machine goes to no other, and not again, until it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import state_of

if TYPE_CHECKING:
    from tests.fleet.fleet import Fleet

pytestmark = pytest.mark.lab


def test_a_crashing_package_is_refused_everywhere(fleet: Fleet) -> None:
    """A later run refuses it for that machine and another one; `--again` tries it once more."""
    fleet.change(broken={"carbon": "crash"})
    failed = fleet.deploy_json("carbon", "--again")
    assert failed.outcomes() == {"carbon": "rolled_back"}, failed.why()
    told = [event["message"] for event in failed.find(event="quarantined", host="carbon")]
    assert len(told) == 2
    before = fleet.states(("carbon", "beryllium"))
    fleet.change(broken={"carbon": "crash", "beryllium": "crash"})
    refused = fleet.deploy_json("carbon,beryllium")
    assert refused.returncode == 3
    assert refused.outcomes() == {"carbon": "skipped", "beryllium": "skipped"}, refused.why()
    for name, result in refused.hosts.items():
        assert "which failed its smoke test on carbon in run" in result["message"]
        assert "illegal instruction" in result["message"]
        assert "--again" in refused.failure(name)
    assert {event["host"] for event in refused.find(stage="plan", event="stage_failed")} == {
        "carbon",
        "beryllium",
    }
    assert fleet.states(("carbon", "beryllium")) == before
    run = str(refused.events[-1]["run"])
    assert f"{run}  " in fleet.orchestrate("history", "beryllium").stdout
    shown = fleet.orchestrate("plan", "beryllium", check=False)
    assert "nothing to do" in shown.stdout
    assert "left out" in shown.stdout
    again = fleet.deploy_json("beryllium", "--again")
    assert again.outcomes() == {"beryllium": "rolled_back"}, again.why()


def test_a_good_smoke_lifts_it(fleet: Fleet) -> None:
    """A system that once gave no answer is refused, let through by `--again`, and then free."""
    hasty = fleet.with_vars(host_vars={"boron": {"orchestrate_smoke_timeout": 5}})
    greeting = fleet.change(broken={"boron": "held"})
    fleet["boron"].shell("touch /run/hold-llama-cli")
    slow = hasty.deploy_json("boron", "--again")
    fleet["boron"].shell("rm /run/hold-llama-cli")
    assert slow.hosts["boron"]["verdict"] == "rolled back", slow.why()
    (told,) = slow.find(event="quarantined")
    assert "nixos-system-boron" in told["path"]
    assert fleet.deploy_json("boron").outcomes() == {"boron": "skipped"}
    assert fleet.deploy_json("boron", "--again").outcomes() == {"boron": "deployed"}
    assert state_of(fleet["boron"]).greeting == greeting
    back = fleet.events_of("rollback", "boron")
    assert back.outcomes() == {"boron": "rolled_back"}, back.why()
    assert fleet.deploy_json("boron").outcomes() == {"boron": "deployed"}


def test_what_the_old_system_fails_too_is_held_against_no_package(fleet: Fleet) -> None:
    """A host on which neither system answers fast enough is to blame itself."""
    hasty = fleet.with_vars(host_vars={"boron": {"orchestrate_smoke_min_tokens_per_second": 1e6}})
    fleet.change()
    slow = hasty.deploy_json("boron")
    assert slow.hosts["boron"]["verdict"] == "degraded", slow.why()
    assert not slow.find(event="quarantined")
    assert fleet.deploy_json("boron").outcomes() == {"boron": "deployed"}
