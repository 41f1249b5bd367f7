"""A rollout over real machines: a canary saves its followers, a spent budget the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fleet.fleet import Fleet

pytestmark = pytest.mark.lab

CPU_MACHINES = ("carbon", "beryllium", "boron")


def test_a_broken_variant_stops_at_its_canary(fleet: Fleet) -> None:
    """Of three machines with a bad llama.cpp one is put back; another variant goes on."""
    before = fleet.states()
    # Another test may have shown already that this package crashes.
    fleet.change(broken=dict.fromkeys(CPU_MACHINES, "crash"))
    deployment = fleet.deploy_json("fleet", "--again")
    assert deployment.returncode == 3
    assert deployment.outcomes() == {
        "carbon": "rolled_back",
        "beryllium": "skipped",
        "boron": "skipped",
        "nitrogen": "deployed",
    }, deployment.why()
    after = fleet.states()
    for name in ("beryllium", "boron"):
        message = deployment.hosts[name]["message"]
        assert message == "carbon failed with the same cpu package, so it was left alone"
        assert after[name].running == before[name].running
        assert after[name].greeter_started == before[name].greeter_started
    assert after["carbon"].running == before["carbon"].running
    assert after["nitrogen"].running == deployment.hosts["nitrogen"]["current"]


def test_a_spent_budget_leaves_the_rest_alone(fleet: Fleet) -> None:
    """One at a time with no failure allowed: the second fails, the first stays deployed."""
    frugal = fleet.with_vars({"orchestrate_max_failures": 0, "orchestrate_canary": False})
    before = frugal.states()
    frugal.change(failing=("beryllium",))
    deployment = frugal.deploy_json("fleet", "--serial", "1", "--limit", "!nitrogen")
    assert deployment.returncode == 3
    assert deployment.outcomes() == {
        "carbon": "deployed",
        "beryllium": "rolled_back",
        "boron": "skipped",
    }, deployment.why()
    assert "orchestrate_max_failures allows (0)" in deployment.hosts["boron"]["message"]
    (spent,) = deployment.find(event="budget_spent")
    assert "the rest is left alone" in spent["message"]
    after = frugal.states()
    assert after["boron"].running == before["boron"].running
    assert after["nitrogen"] == before["nitrogen"]
