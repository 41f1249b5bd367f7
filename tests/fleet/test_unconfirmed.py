"""A system that no run has confirmed is left behind: nothing leads back to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import HostState, kill, read_until, state_of

if TYPE_CHECKING:
    from tests.fleet.fleet import Fleet

pytestmark = pytest.mark.lab

NAME = "boron"


def leave_unconfirmed(fleet: Fleet) -> HostState:
    """Have a run switch and die, with its timer armed; give the host as it was confirmed."""
    fleet.change()
    assert fleet.deploy_json(NAME).returncode == 0
    before = state_of(fleet[NAME])
    fleet.change()
    process = fleet.start("deploy", NAME, "--json")
    read_until(process, stage="switch", event="stage_finished")
    kill(process)
    fleet.orchestrate("unlock", NAME, "--force")
    left = state_of(fleet[NAME])
    assert left.rollback_armed
    assert left.running != before.running
    return before


def test_the_same_system_again_is_tested_and_confirmed(fleet: Fleet) -> None:
    """What runs already is not unchanged while the host would leave it by itself."""
    leave_unconfirmed(fleet)
    running = state_of(fleet[NAME]).running
    deployment = fleet.deploy_json(NAME)
    assert deployment.outcomes() == {NAME: "deployed"}, deployment.why()
    assert deployment.find(event="stage_finished", stage="smoke")
    after = state_of(fleet[NAME])
    assert after.running == after.boot_default == running
    assert not after.rollback_armed
    assert fleet.deploy_json(NAME).outcomes() == {NAME: "unchanged"}


def test_an_unconfirmed_system_that_its_owner_keeps_is_confirmed(fleet: Fleet) -> None:
    """Whoever stops the timer and makes it the boot default has decided for it."""
    leave_unconfirmed(fleet)
    running = state_of(fleet[NAME]).running
    fleet[NAME].shell(
        "systemctl stop orchestrate-rollback.timer;"
        f" nix-env --profile /nix/var/nix/profiles/system --set {running}"
    )
    facts = json.loads(fleet.orchestrate("facts", NAME, "--json").stdout)
    assert (facts["running_system"], facts["goes_back_to"]) == (running, None)


def test_a_new_boot_default_lets_the_host_go_back_first(fleet: Fleet) -> None:
    """Goal boot activates nothing new: what is unconfirmed is left at once, not in its midst."""
    before = leave_unconfirmed(fleet)
    fleet.change()
    deployment = fleet.deploy_json(NAME, "--goal", "boot")
    assert deployment.outcomes() == {NAME: "boots_next"}, deployment.why()
    after = state_of(fleet[NAME])
    assert after.running == before.running
    assert after.boot_default not in (before.boot_default, "")
    assert not after.rollback_armed


def test_a_rollback_by_hand_goes_to_what_was_confirmed(fleet: Fleet) -> None:
    """Not to the generation before that, which is as far again."""
    before = leave_unconfirmed(fleet)
    rollback = fleet.events_of("rollback", NAME)
    assert rollback.outcomes() == {NAME: "rolled_back"}, rollback.why()
    after = state_of(fleet[NAME])
    assert (after.running, after.boot_default) == (before.running, before.boot_default)
    assert not after.rollback_armed
