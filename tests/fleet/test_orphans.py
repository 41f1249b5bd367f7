"""A script whose controller is dead goes on alone: the next one waits, and the host ends whole."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.fleet.faults.cells import SOON
from tests.fleet.faults.moment import NAME, Attempt, Moment, attempt, wait_until
from tests.fleet.faults.settled import settled
from tests.fleet.fleet import kill, parse, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fleet.faults.moment import Deploying
    from tests.fleet.fleet import Fleet
    from tests.lab import Host

pytestmark = pytest.mark.lab

LOCK = "/run/orchestrate/lock"

# The first one to start this unit stands still, and says who it is.
STANDS_STILL = """\
#!/bin/sh
case "$*" in
  *--unit={unit}*)
    if mkdir /run/stands-still 2>/dev/null; then
      echo $PPID >/run/stands-still/script
      while [ -e /run/stand-still ]; do sleep 0.1; done
    fi
    ;;
esac
exec /usr/bin/systemd-run "$@"
"""


@contextmanager
def standing_still(host: Host, unit: str) -> Iterator[None]:
    """Have the first script that starts a unit stand still before it, until it is let go."""
    fake = "/usr/local/bin/systemd-run"
    host.exec("tee", fake, stdin=STANDS_STILL.format(unit=unit))
    host.shell(f"chmod +x {fake}; touch /run/stand-still")
    try:
        yield
    finally:
        host.shell(f"rm -rf {fake} /run/stand-still /run/stands-still")


def orphaned(begun: Attempt) -> tuple[Deploying, str]:
    """Kill the controller where its script stands still; give the deployment and the script."""
    deploying = begun.deploying()
    deploying.read_until(deploying.has_come)
    wait_until(lambda: begun.host.shell("cat /run/stands-still/script || true") != "")
    kill(deploying.process)
    return deploying, begun.host.shell("cat /run/stands-still/script").strip()


def is_waited_for(host: Host) -> bool:
    """Whether a script waits for the host's lock."""
    return LOCK in host.shell("readlink /proc/[0-9]*/fd/8 || true")


@pytest.mark.parametrize("unit", ["orchestrate-rollback", "orchestrate-activate"])
def test_the_next_script_waits_for_an_orphaned_one(fleet: Fleet, unit: str) -> None:
    """Of two scripts of one switch the second finds what the first has done, whole."""
    begun = attempt(fleet, Moment.TEST)
    with standing_still(begun.host, unit):
        deploying, _ = orphaned(begun)
        resumed = fleet.start("resume", deploying.run, "--json")
        wait_until(lambda: is_waited_for(begun.host))
        assert begun.done == []
        begun.host.shell("rm /run/stand-still")
        output, said = resumed.communicate(timeout=60)
    deployment = parse(output, resumed.returncode, said)
    assert deployment.outcomes() == {NAME: "deployed"}, deployment.why()
    state = settled(begun.host)
    assert state.is_whole, state
    assert begun.runs(state.running)
    assert begun.done == ["test", "confirm"]


def test_the_automatic_rollback_ends_a_script_that_does_not_let_go(fleet: Fleet) -> None:
    """A script that was stopped with the host in its hand doesn't keep it from going back."""
    before = state_of(fleet[NAME])
    begun = attempt(fleet, Moment.TEST, SOON)
    with standing_still(begun.host, "orchestrate-activate"):
        deploying, script = orphaned(begun)
        begun.host.exec("kill", "-STOP", script)
        wait_until(lambda: settled(begun.host).is_whole)
        assert begun.host.exec("test", "-e", f"/proc/{script}", check=False).returncode != 0
    assert begun.done == []
    resumed = fleet.events_of("resume", deploying.run)
    assert resumed.outcomes() == {NAME: "rolled_back"}, resumed.why()
    state = settled(begun.host)
    assert state.is_whole, state
    assert state.running == before.running


@pytest.mark.faults
def test_a_host_that_is_held_for_good_is_told_of(fleet: Fleet) -> None:
    """If no process lets go, the run changes nothing, names the process, and says what to do."""
    before = settled(fleet[NAME])
    begun = attempt(fleet, Moment.TEST, {"orchestrate_way_back_timeout": 1})
    holding = (
        f"mkdir -p /run/orchestrate; exec 9>>{LOCK}; flock 9;"
        f" echo the switch of another run >{LOCK}; exec sleep infinity"
    )
    begun.host.shell(f"systemd-run --quiet --unit=holding sh -c '{holding}'")
    wait_until(lambda: "another run" in begun.host.shell(f"cat {LOCK} || true"))
    pid = begun.host.shell("systemctl show --property=MainPID --value holding").strip()
    try:
        deployment = begun.deploying().end()
    finally:
        begun.host.shell("systemctl stop holding")
    held = f"the switch of another run (process {pid}) did not let go of the host in 61 seconds"
    assert deployment.returncode == 4, deployment.why()
    assert held in deployment.hosts[NAME]["message"]
    (failed,) = deployment.find(stage="switch", event="stage_failed")
    assert "kill it there" in failed["hint"]
    assert settled(begun.host) == before
    assert begun.deploying().end().outcomes() == {NAME: "deployed"}
