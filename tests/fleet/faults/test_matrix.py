"""Each fault at each moment: the host ends on one system, wholly, and `status` says which."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.fleet.faults.cells import CELLS, NETWORK_BACK, SSHD_BACK, Cell, End, Fault
from tests.fleet.faults.moment import NAME, Attempt, Moment, at_its_moment, attempt, wait_until
from tests.fleet.faults.settled import Settled, settled
from tests.fleet.faults.strike import can_strike, cut_the_power
from tests.fleet.fleet import state_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fleet.fleet import Deployment, Fleet
    from tests.lab import Host

pytestmark = pytest.mark.lab

SWITCH = "bin/switch-to-configuration switch"

CHOSEN = [
    pytest.param(cell, id=str(cell), marks=[] if cell.is_quick else pytest.mark.faults)
    for cell in CELLS
]


@pytest.mark.parametrize("cell", CHOSEN)
def test_a_host_ends_on_one_system(fleet: Fleet, tmp_path: Path, cell: Cell) -> None:
    """Running system, /etc, units, profile and boot loader are of one system, as `status` says."""
    before = whole(fleet[NAME])
    with can_strike(cell.struck, fleet, tmp_path) as seen:
        begun = attempt(seen, cell.moment, cell.variables, cell.llama, cell.module)
        with repaired(begun.host):
            deployment = broken(begun, cell)
        state = settled(begun.host)
        end = end_of(begun, before.running, deployment)
        assert end in cell.ends, deployment.why()
        assert state.is_whole, (state, deployment.why())
        assert_status(seen, deployment, state.running)


@pytest.mark.faults
def test_a_power_cut_between_profile_and_boot_loader(fleet: Fleet) -> None:
    """A boot loader that was not written in time boots the old system, and the profile follows."""
    before = whole(fleet[NAME])
    begun = attempt(fleet, Moment.CONFIRM)
    pipe = "/boot/loader/default.new"
    # A writer to a pipe without a reader waits for ever.
    begun.host.shell(f"rm -f {pipe}; mkfifo {pipe}")
    deploying = begun.deploying()
    deploying.read_until(deploying.has_come)
    wait_until(lambda: state_of(begun.host).boot_default != before.running)
    cut_the_power(deploying)
    begun.host.shell(f"rm -f {pipe}")
    deployment = deploying.end()
    assert deployment.outcomes() == {NAME: "rolled_back"}, deployment.why()
    state = settled(begun.host)
    assert state.is_whole, state
    assert state.running == before.running


def whole(host: Host) -> Settled:
    """Return a host that is on one system; what a failed test has left is put in order first."""
    state = settled(host)
    if not state.is_whole:
        host.shell(f"systemctl stop 'orchestrate-*'; {state.profile}/{SWITCH}")
        state = settled(host)
    assert state.is_whole, state
    return state


def broken(begun: Attempt, cell: Cell) -> Deployment:
    """Deploy, break it, and bring the run to its end."""
    if cell.struck is None:
        if cell.hook:
            begun.hook(cell.hook)
        return begun.deploying().end()
    with at_its_moment(begun) as deploying:
        cell.struck(deploying)
        if begun.host.is_on:
            begun.host.exec("rm", "-f", "/run/hold-llama-cli")
        if cell.fault is not Fault.CONTROLLER_KILLED:
            return deploying.end()
        # Nothing comes to its help: it must settle alone, and be known while it has not ended.
        wait_until(lambda: settled(begun.host).is_whole)
        (status,) = statuses(begun.fleet)
        assert status["running"] == settled(begun.host).running
        assert status["open_run"]["run"] == deploying.run
        new = begun.runs(status["running"])
        assert status["running"] == status["open_run"]["wanted" if new else "previous"]
        return begun.fleet.events_of("resume", deploying.run)


def end_of(begun: Attempt, old: str, deployment: Deployment) -> End | None:
    """Return which end it is; None if it is none of the allowed ones."""
    running = state_of(begun.host).running
    is_new = begun.runs(running)
    assert is_new or running == old
    ends = (end for end in End if (end.is_new, end.code) == (is_new, deployment.returncode))
    return next(ends, None)


def assert_status(fleet: Fleet, deployment: Deployment, running: str) -> None:
    """Check that the first answer of `status` is what runs, what it boots, and how it ended."""
    (status,) = statuses(fleet)
    assert (status["running"], status["boot_default"]) == (running, running)
    assert status["open_run"] is None
    assert status["run"] == deployment.events[-1]["run"]
    assert status["result"] == deployment.hosts[NAME]
    assert status["drift"] == ""


def statuses(fleet: Fleet) -> list[dict[str, Any]]:
    """Ask `orchestrate status` once."""
    said = fleet.orchestrate("status", NAME, "--json").stdout
    return [json.loads(line) for line in said.splitlines()]


@contextmanager
def repaired(host: Host) -> Iterator[None]:
    """Restore in the end what a fault may have taken away, and no more than that."""
    try:
        yield
    finally:
        host.restore()
        if not host.is_on:
            host.boot()
        host.shell(f"{NETWORK_BACK}; {SSHD_BACK}")
        host.free_store()
        host.wait_for_ssh()
