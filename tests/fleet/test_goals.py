"""How far a deployment goes: run and boot it, boot it, try it, or only say what it would do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import state_of

if TYPE_CHECKING:
    from tests.fleet.fleet import Fleet

pytestmark = pytest.mark.lab

NAME = "carbon"
BY_SUDO = "beryllium"


def test_boot_changes_the_next_boot_alone(fleet: Fleet) -> None:
    """What runs stays; the next boot gives the new system; a second time nothing is to do."""
    before = state_of(fleet[NAME])
    greeting = fleet.change()
    deployment = fleet.deploy_json(NAME, "--goal", "boot")
    assert deployment.returncode == 0, deployment.why()
    assert deployment.outcomes() == {NAME: "boots_next"}
    assert "no smoke test ran" in deployment.hosts[NAME]["message"]
    assert not deployment.find(stage="smoke")
    after = state_of(fleet[NAME])
    assert (after.running, after.greeting) == (before.running, before.greeting)
    assert after.boot_default != before.boot_default
    assert not after.rollback_armed
    assert fleet.deploy_json(NAME, "--goal", "boot").outcomes() == {NAME: "unchanged"}
    fleet[NAME].reboot()
    booted = state_of(fleet[NAME])
    assert (booted.running, booted.greeting) == (after.boot_default, greeting)


def test_boot_that_fails_is_undone(fleet: Fleet) -> None:
    """Where the boot loader can't be written, the profile is again what it was."""
    host = fleet[NAME]
    before = state_of(host)
    fleet.change()
    host.shell("mount --bind /boot/loader /boot/loader; mount -o remount,bind,ro /boot/loader")
    try:
        deployment = fleet.deploy_json(NAME, "--goal", "boot")
    finally:
        host.shell("umount /boot/loader")
    assert deployment.outcomes() == {NAME: "failed"}
    assert "Failed to install bootloader" in str(deployment.find(event="stage_failed"))
    after = state_of(host)
    assert replace(after, store_paths=0) == replace(before, store_paths=0)


def test_test_leaves_the_boot_default(fleet: Fleet) -> None:
    """The new system runs, proven and with nothing armed; the next boot gives the old one."""
    before = state_of(fleet[NAME])
    greeting = fleet.change()
    deployment = fleet.deploy_json(NAME, "--goal", "test")
    assert deployment.returncode == 0, deployment.why()
    assert deployment.outcomes() == {NAME: "tested"}
    assert deployment.find(stage="smoke", event="stage_finished")
    after = state_of(fleet[NAME])
    assert (after.greeting, after.boot_default) == (greeting, before.boot_default)
    assert (after.running, after.rollback_armed) == (deployment.hosts[NAME]["current"], False)
    assert fleet.deploy_json(NAME, "--goal", "test").outcomes() == {NAME: "unchanged"}
    fleet[NAME].reboot()
    assert state_of(fleet[NAME]).greeting == before.greeting


def test_test_that_fails_goes_back(fleet: Fleet) -> None:
    """A system that is only tried and infers nothing is left as after a switch."""
    before = state_of(fleet[NAME])
    fleet.change(broken={NAME: "crash"})
    deployment = fleet.deploy_json(NAME, "--goal", "test", "--again")
    assert deployment.outcomes() == {NAME: "rolled_back"}, deployment.why()
    after = state_of(fleet[NAME])
    assert (after.running, after.boot_default) == (before.running, before.boot_default)


def test_dry_activation_says_what_would_be_done(fleet: Fleet) -> None:
    """Each host says which units it would touch, and nothing but its store changes."""
    both = (NAME, BY_SUDO)
    before = fleet.states(both)
    fleet.change()
    shown = fleet.orchestrate("deploy", ",".join(both), "--goal", "dry-activate")
    for name in both:
        assert f"{name} dry_activate: would stop the following units: greeter.service" in (
            shown.stdout
        )
    assert "would start the following units: greeter.service" in shown.stdout
    assert "dry_activated" in shown.stdout
    for name, state in fleet.states(both).items():
        assert replace(state, store_paths=0) == replace(before[name], store_paths=0)
    again = fleet.deploy_json(NAME, "--goal", "dry-activate")
    assert again.hosts[NAME]["message"] == "nothing was changed"
