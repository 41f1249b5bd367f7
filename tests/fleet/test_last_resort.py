"""The old system can't be activated again: the host reboots into its boot default, if it may."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import kill, read_until, state_of
from tests.lab.processes import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fleet.fleet import Fleet
    from tests.lab import Host

pytestmark = pytest.mark.lab

NAME = "carbon"
CONFIRM_SECONDS = 10
WAY_BACK_SECONDS = 3
BOOT_SECONDS = 60

# Activates once; from then on until the next boot it hangs.
HANGS_LATER = """
  {
    system.activationScripts.later = "[ ! -e /run/hang ] || exec sleep infinity";
  }
"""


@pytest.fixture
def host(fleet: Fleet) -> Iterator[Host]:
    """Yield a host whose running system will hang when it is activated again."""
    fleet.change(extra={NAME: HANGS_LATER})
    assert fleet.deploy_json(NAME).outcomes()[NAME] == "deployed"
    fleet[NAME].shell("touch /run/hang")
    yield fleet[NAME]
    fleet[NAME].shell("rm -f /run/hang")
    fleet.change()
    assert fleet.deploy_json(NAME).outcomes()[NAME] == "deployed"


def rebooting(fleet: Fleet, *, allowed: bool) -> Fleet:
    """Return the fleet with short limits, and the last resort allowed or not."""
    return fleet.with_vars(
        {
            "orchestrate_confirm_timeout": CONFIRM_SECONDS,
            "orchestrate_way_back_timeout": WAY_BACK_SECONDS,
            "orchestrate_reboot_as_last_resort": allowed,
        }
    )


def test_a_rollback_that_hangs_reboots_into_the_old_system(fleet: Fleet, host: Host) -> None:
    """The run waits for the reboot, finds the very old system, and proves it by its smoke."""
    before = state_of(host)
    fleet.change(broken={NAME: "crash"})
    deployment = rebooting(fleet, allowed=True).deploy_json(NAME, "--again")
    result = deployment.hosts[NAME]
    assert deployment.returncode == 3, deployment.why()
    assert (result["outcome"], result["verdict"]) == ("rolled_back", "rolled back")
    (ended,) = deployment.find(stage="rollback", event="stage_finished")
    assert ended["report"]["detail"] == "the old system runs, after a reboot"
    assert ended["report"]["smoke"]["passed"]
    after = state_of(host)
    assert after.boot_id != before.boot_id
    assert (after.running, after.boot_default) == (before.running, before.boot_default)
    assert after.greeting == before.greeting


def test_a_host_without_its_controller_reboots_by_itself(fleet: Fleet, host: Host) -> None:
    """If nothing confirms and the automatic rollback hangs, the host reboots, and only once."""
    before = state_of(host)
    fleet.change()
    process = rebooting(fleet, allowed=True).start("deploy", NAME, "--json")
    read_until(process, stage="switch", event="stage_finished")
    kill(process)
    deadline = time.monotonic() + CONFIRM_SECONDS + WAY_BACK_SECONDS + BOOT_SECONDS
    while boot_id(host) in ("", before.boot_id):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    host.wait_until_up()
    after = state_of(host)
    assert (after.running, after.boot_default) == (before.running, before.boot_default)
    assert (after.greeting, after.rollback_armed) == (before.greeting, False)
    resumed = fleet.events_of("resume")
    assert resumed.hosts[NAME]["verdict"] == "rolled back", resumed.why()
    assert state_of(host).boot_id == after.boot_id


def test_without_leave_it_needs_manual_repair(fleet: Fleet, host: Host) -> None:
    """A host that may not reboot is left as it is, and its verdict is `needs manual repair`."""
    before = state_of(host)
    fleet.change(broken={NAME: "crash"})
    deployment = rebooting(fleet, allowed=False).deploy_json(NAME, "--again")
    assert deployment.returncode == 4
    result = deployment.hosts[NAME]
    assert (result["outcome"], result["verdict"]) == ("failed", "needs manual repair"), (
        deployment.why()
    )
    after = state_of(host)
    assert (after.boot_id, after.boot_default) == (before.boot_id, before.boot_default)


def boot_id(host: Host) -> str:
    """Return the id of the present boot, empty while it is between two."""
    try:
        return host.exec("cat", "/proc/sys/kernel/random/boot_id", check=False).stdout.strip()
    except LabError:
        return ""
