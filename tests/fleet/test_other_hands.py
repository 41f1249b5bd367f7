"""What is done to a host beside a run: activations of others, and checks that its owner set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import state_of

if TYPE_CHECKING:
    from tests.fleet.fleet import Fleet

pytestmark = pytest.mark.lab

NAME = "boron"
UNIT = "nixos-rebuild-switch-to-configuration"
LOCK = "/run/nixos/switch-to-configuration.lock"


@pytest.mark.parametrize("goal", ["switch", "boot"])
@pytest.mark.parametrize(
    ("unit", "command", "holder"),
    [
        (UNIT, "sleep 600", f"{UNIT}.service is at work"),
        ("somebody", f"flock {LOCK} sleep 600", f"holds {LOCK}"),
    ],
)
def test_an_activation_of_others_is_left_alone(
    fleet: Fleet, unit: str, command: str, holder: str, goal: str
) -> None:
    """A host that another program activates is left as it is, and that program goes on."""
    host = fleet[NAME]
    before = state_of(host)
    fleet.change()
    host.shell(f"mkdir -p /run/nixos; systemd-run --quiet --unit={unit} {command}; sleep 0.5")
    try:
        deployment = fleet.deploy_json(NAME, "--goal", goal)
        still = host.shell(f"systemctl is-active {unit}.service || true").strip()
    finally:
        host.shell(f"systemctl stop {unit}.service")
    assert still == "active"
    assert deployment.returncode == 3, deployment.why()
    result = deployment.hosts[NAME]
    assert result["outcome"] == "failed"
    assert "another activation is under way" in result["message"]
    assert holder in result["message"]
    if goal == "switch":
        assert result["verdict"] == "untouched"
    after = state_of(host)
    assert (after.running, after.boot_default) == (before.running, before.boot_default)
    assert not after.rollback_armed
    assert fleet.deploy_json(NAME, "--goal", goal).hosts[NAME]["outcome"] != "failed"


def test_a_check_before_a_switch_is_not_asked_on_the_way_back(fleet: Fleet) -> None:
    """A check of the old system that fails by now doesn't keep the host on what has failed."""
    host = fleet[NAME]
    check = 'system.preSwitchChecks.network = "[ ! -e /run/network-is-gone ]";'
    fleet.change(extra={NAME: f"{{ {check} }}"})
    assert fleet.deploy_json(NAME).returncode == 0
    before = state_of(host)
    fleet.change(extra={NAME: "{ }"}, broken={NAME: "crash"})
    host.shell("touch /run/network-is-gone")
    try:
        # The same bad package is in quarantine by the tests before.
        deployment = fleet.deploy_json(NAME, "--again")
    finally:
        host.shell("rm /run/network-is-gone")
    assert deployment.hosts[NAME]["verdict"] == "rolled back", deployment.why()
    after = state_of(host)
    assert (after.running, after.boot_default) == (before.running, before.boot_default)


def test_a_check_before_a_switch_is_asked_for_the_new_system(fleet: Fleet) -> None:
    """A new system whose own check fails is not activated, and the message says which failed."""
    host = fleet[NAME]
    before = state_of(host)
    fleet.change(extra={NAME: '{ system.preSwitchChecks.never = "false"; }'})
    deployment = fleet.deploy_json(NAME)
    assert deployment.returncode == 3, deployment.why()
    assert "the new system's pre-switch check never failed" in deployment.hosts[NAME]["message"]
    assert state_of(host).running == before.running
    fleet.change()
    assert fleet.deploy_json(NAME).returncode == 0


def test_a_system_that_can_not_be_switched_to_is_said_to_be_one(fleet: Fleet) -> None:
    """With system.switch.enable = false a system has no switch-to-configuration."""
    host = fleet[NAME]
    before = state_of(host)
    fleet.change(extra={NAME: "{ system.switch.enable = false; }"})
    deployment = fleet.deploy_json(NAME)
    assert deployment.hosts[NAME]["verdict"] == "untouched", deployment.why()
    assert "its system.switch.enable is false" in deployment.hosts[NAME]["message"]
    assert state_of(host).running == before.running
    fleet.change()
    assert fleet.deploy_json(NAME).returncode == 0
