"""A new kernel, initrd or driver is in use after a reboot: told, or done, one machine at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import state_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fleet.fleet import Fleet

pytestmark = pytest.mark.lab

NAMES = ("carbon", "boron")


def another_initrd(word: str) -> Mapping[str, str]:
    """Return a module for each machine with a kernel module in its initrd."""
    return dict.fromkeys(NAMES, f'{{ boot.kernelModules = [ "{word}" ]; }}')


@pytest.fixture
def booted(fleet: Fleet) -> Fleet:
    """Return the fleet with machines that have booted what they run."""
    for name in NAMES:
        fleet[name].reboot()
    return fleet


def rebooting(fleet: Fleet, policy: str, seconds: float = 60) -> Fleet:
    """Return the fleet with this policy for reboots."""
    return fleet.with_vars({"orchestrate_reboot": policy, "orchestrate_reboot_timeout": seconds})


def test_a_needed_reboot_is_told_and_left_to_the_user(booted: Fleet) -> None:
    """By default, and without a terminal to ask on, no host reboots."""
    before = state_of(booted["carbon"])
    booted.change(extra=another_initrd("dummy"))
    deployment = rebooting(booted, "ask").deploy_json("carbon")
    result = deployment.hosts["carbon"]
    assert (deployment.returncode, result["outcome"]) == (0, "deployed"), deployment.why()
    assert result["message"] == "it needs a reboot: initrd"
    assert "carbon: will not reboot (no terminal to ask on)" in deployment.stderr
    assert state_of(booted["carbon"]).boot_id == before.boot_id


KERNEL = "{ pkgs, ... }: { boot.kernelPackages = pkgs.linuxPackages_latest; }"
DRIVER = """
  { pkgs, ... }: {
    boot.extraModulePackages = [
      (pkgs.runCommandLocal "nvidia-x11" { } "mkdir -p $out/lib; echo 580 >$out/lib/nvidia.ko")
    ];
  }
"""


def test_the_plan_says_what_the_copy_finds(booted: Fleet) -> None:
    """Kernel, initrd and driver are compared before anything is built, by the same rule."""
    booted.change(extra={"carbon": KERNEL, "boron": DRIVER})
    target = ",".join(NAMES)
    planned = json.loads(booted.orchestrate("plan", target, "--json").stdout)
    needs = {host["host"]["name"]: host["reboot_for"] for host in planned["hosts"]}
    assert needs == {"carbon": ["kernel", "initrd", "kernel-modules"], "boron": ["kernel-modules"]}
    told = booted.orchestrate("plan", target).stdout
    assert "the kernel, the initrd and the kernel modules and drivers change; it needs" in told
    assert "(orchestrate_reboot: never)" in told
    deployment = booted.deploy_json(target)
    assert deployment.outcomes() == dict.fromkeys(NAMES, "deployed"), deployment.why()
    for name in NAMES:
        (before,) = deployment.find(host=name, event="reboot_needed")
        (copied,) = deployment.find(host=name, stage="copy_closure", event="stage_finished")
        assert before["parts"] == copied["report"]["reboot_for"] == needs[name]
        assert deployment.events.index(before) < deployment.events.index(copied)
    back = booted.events_of("rollback", target)
    assert back.outcomes() == dict.fromkeys(NAMES, "rolled_back"), back.why()
    assert back.find(event="reboot_needed") == []


def test_machines_reboot_one_by_one_where_needed(booted: Fleet) -> None:
    """Each has booted its new system afterwards, proven by its smoke; who needs none has none."""
    before = booted.states(NAMES)
    booted.change(extra=another_initrd("loop"))
    allowed = rebooting(booted, "if-needed")
    deployment = allowed.deploy_json(",".join(NAMES))
    assert deployment.outcomes() == dict.fromkeys(NAMES, "deployed"), deployment.why()
    for name in NAMES:
        (ended,) = deployment.find(stage="reboot", event="stage_finished", host=name)
        assert ended["report"]["changed"] == ["initrd"]
        assert ended["report"]["smoke"]["passed"]
        state = state_of(booted[name])
        wanted = deployment.hosts[name]["current"]
        assert state.boot_id == ended["report"]["boot_id"] != before[name].boot_id
        assert state.running == state.boot_default == wanted
        assert booted[name].shell("readlink -f /run/booted-system").strip() == wanted
    kinds = ("stage_started", "stage_finished")
    told = [event for event in deployment.find(stage="reboot") if event["event"] in kinds]
    assert [event["event"] for event in told] == [*kinds, *kinds]
    booted.change(extra=another_initrd("loop"))
    again = allowed.deploy_json("carbon")
    assert again.outcomes() == {"carbon": "deployed"}, again.why()
    (ended,) = again.find(stage="reboot", event="stage_finished")
    assert ended["report"]["changed"] == []


def test_the_health_check_decides_after_a_reboot_as_well(booted: Fleet) -> None:
    """It is asked again until it passes; if it never does, the message says how to roll back."""
    before = state_of(booted["carbon"])
    # /run is new in each boot.
    booted["boron"].shell("touch /run/ready")
    passes_later = "[ -e /run/ready ] || { touch /run/ready; exit 1; }"
    fails_booted = "[ $(readlink -f /run/booted-system) != $(readlink -f /run/current-system) ]"
    checked = rebooting(booted, "if-needed", 15).with_vars(
        host_vars={
            "carbon": {"orchestrate_health_check": fails_booted},
            "boron": {"orchestrate_health_check": passes_later},
        }
    )
    booted.change(extra=another_initrd("health"))
    later = checked.deploy_json("boron")
    assert later.outcomes() == {"boron": "deployed"}, later.why()
    (ended,) = later.find(stage="reboot", event="stage_finished")
    assert ended["report"]["health"]["host"] == "boron"
    deployment = checked.deploy_json("carbon")
    assert deployment.outcomes() == {"carbon": "failed"}, deployment.why()
    assert deployment.returncode == 4
    result = deployment.hosts["carbon"]
    assert result["verdict"] == "needs manual repair"
    assert result["current"] == state_of(booted["carbon"]).running
    assert "the health check failed" in result["message"]
    way_back = f"`orchestrate rollback carbon` takes it back to {before.running}"
    assert way_back in result["message"]
    back = booted.events_of("rollback", "carbon")
    assert back.outcomes() == {"carbon": "rolled_back"}, back.why()
    assert state_of(booted["carbon"]).running == before.running


def test_a_machine_that_is_not_back_in_time_needs_hands(booted: Fleet) -> None:
    """The time limit ends the wait; the machine comes up with its new system all the same."""
    booted.change(extra=another_initrd("late"))
    deployment = rebooting(booted, "ask", 0.5).deploy_json("carbon", "--reboot")
    result = deployment.hosts["carbon"]
    assert deployment.returncode == 4
    assert (result["outcome"], result["verdict"]) == ("failed", "needs manual repair"), (
        deployment.why()
    )
    assert "not back from its reboot within 0.5 seconds" in result["message"]
    booted["carbon"].wait_until_up()
    booted.change()
    assert booted.deploy_json("carbon").outcomes() == {"carbon": "deployed"}


def inhibited(value: str, further: str = "") -> Mapping[str, str]:
    """Return a module for a machine that can't be switched to from one with another value."""
    return {"carbon": f'{{ system.switch.inhibitors.dbus = "{value}"; {further} }}'}


def test_an_inhibited_switch_is_refused_before_anything_is_built(fleet: Fleet) -> None:
    """NixOS's own check is known from the plan on; a host that may not reboot is left out."""
    fleet.change(extra=inhibited("dbus"))
    assert fleet.deploy_json("carbon").outcomes() == {"carbon": "deployed"}
    before = state_of(fleet["carbon"])
    fleet.change(extra=inhibited("broker"))
    deployment = rebooting(fleet, "never").deploy_json("carbon")
    result = deployment.hosts["carbon"]
    assert (deployment.returncode, result["outcome"]) == (3, "skipped"), deployment.why()
    assert "dbus: dbus -> broker" in result["message"]
    assert "--goal boot" in result["failure"]["hint"]
    assert not deployment.find(stage="build")
    assert state_of(fleet["carbon"]).running == before.running


def test_an_inhibited_switch_goes_by_a_reboot_and_back_by_one(fleet: Fleet) -> None:
    """With leave to reboot a host boots what it can't be switched to, and the old if need be."""
    host, allowed = fleet["carbon"], rebooting(fleet, "if-needed", 12)
    fleet.change(extra=inhibited("dbus"))
    assert allowed.deploy_json("carbon").returncode == 0
    before = state_of(host)
    fleet.change(extra=inhibited("broker"), broken={"carbon": "garbage"})
    deployment = allowed.deploy_json("carbon", "--again")
    assert deployment.outcomes() == {"carbon": "rolled_back"}, deployment.why()
    after = state_of(host)
    assert after.boot_id != before.boot_id
    assert (after.running, after.boot_default) == (before.running, before.boot_default)
    (back,) = deployment.find(stage="rollback", event="stage_finished")
    assert back["report"]["smoke"]["passed"]
    greeting = fleet.change(extra=inhibited("broker"))
    deployment = allowed.deploy_json("carbon")
    assert deployment.outcomes() == {"carbon": "deployed"}, deployment.why()
    state = state_of(host)
    assert state.boot_id != after.boot_id
    assert (state.running, state.greeting) == (state.boot_default, greeting)
    assert deployment.hosts["carbon"]["backend"]
