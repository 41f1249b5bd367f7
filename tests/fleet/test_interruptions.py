"""The controller or the network dies in the middle: the host goes back, or the run goes on."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import Fleet, HostState, kill, read_until, state_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab import Host

pytestmark = pytest.mark.lab

CONFIRM_SECONDS = 10

NO_NETWORK = """
  {
    systemd.services.no-network = {
      description = "Takes the network away for as long as it is there";
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStop = "/usr/sbin/ip link set eth0 up";
      };
      script = "/usr/sbin/ip link set eth0 down";
    };
  }
"""


def test_dead_controller_means_the_old_system(fleet: Fleet) -> None:
    """When the controller dies before it confirmed, the host goes back by itself."""
    before = state_of(fleet["carbon"])
    hasty = fleet.with_vars({"orchestrate_confirm_timeout": CONFIRM_SECONDS})
    greeting = hasty.change()
    kill_after_switch(hasty, "carbon")
    assert state_of(fleet["carbon"]).greeting == greeting
    assert state_of(fleet["carbon"]).boot_default == before.boot_default
    wait_for(fleet["carbon"], before)
    resumed = hasty.events_of("resume")
    assert resumed.returncode == 3
    assert resumed.outcomes() == {"carbon": "rolled_back"}, resumed.why()


def test_what_no_run_confirmed_is_never_gone_back_to(fleet: Fleet) -> None:
    """A run that finds an unconfirmed system goes back to the one before that."""
    host = fleet["carbon"]
    before = state_of(host)
    fleet.change()
    kill_after_switch(fleet, "carbon")
    unconfirmed = state_of(host)
    assert unconfirmed.running != before.running
    facts = json.loads(fleet.orchestrate("facts", "carbon", "--json").stdout)
    assert facts["goes_back_to"] == before.running
    fleet.orchestrate("unlock", "carbon", "--force")
    fleet.change(broken={"carbon": "garbage"})
    deployment = fleet.deploy_json("carbon", "--again")
    assert deployment.outcomes() == {"carbon": "rolled_back"}, deployment.why()
    assert deployment.hosts["carbon"]["previous"] == before.running
    after = state_of(host)
    assert (after.running, after.boot_default) == (before.running, before.boot_default)
    assert (after.greeting, after.rollback_armed) == (before.greeting, False)
    fleet.orchestrate("cancel")
    assert state_of(host) == after


@pytest.mark.parametrize("killed_at", ["stage_started", "stage_finished"])
def test_resume_finishes_what_a_dead_controller_began(fleet: Fleet, killed_at: str) -> None:
    """`orchestrate resume` takes over a run: it ends well, and no switch is done twice."""
    greeting = fleet.change()
    activations = count(fleet["carbon"], "orchestrate-activate.service", "Started")
    greetings = count(fleet["carbon"], "greeter.service", "Finished")
    kill_after_switch(fleet, "carbon", killed_at)
    resumed = fleet.events_of("resume")
    assert resumed.returncode == 0, resumed.why()
    assert resumed.outcomes() == {"carbon": "deployed"}
    state = state_of(fleet["carbon"])
    assert state.running == state.boot_default == resumed.hosts["carbon"]["current"]
    assert state.greeting == greeting
    assert not state.rollback_armed
    assert count(fleet["carbon"], "greeter.service", "Finished") == greetings + 1
    if killed_at == "stage_finished":
        # One that tests the new system and one that makes it stay.
        done = count(fleet["carbon"], "orchestrate-activate.service", "Started") - activations
        assert done == 2


def test_system_without_network_is_left_again(fleet: Fleet) -> None:
    """A system that takes its own network away is left by the host itself, and reported."""
    before = state_of(fleet["nitrogen"])
    hasty = fleet.with_vars({"orchestrate_confirm_timeout": CONFIRM_SECONDS})
    hasty.change(extra={"nitrogen": NO_NETWORK})
    deployment = hasty.deploy_json("nitrogen")
    assert deployment.returncode == 3
    assert deployment.outcomes() == {"nitrogen": "rolled_back"}, deployment.why()
    assert deployment.hosts["nitrogen"]["verdict"] == "rolled back"
    after = state_of(fleet["nitrogen"])
    assert (after.running, after.boot_default) == (before.running, before.boot_default)
    assert not after.rollback_armed


def kill_after_switch(fleet: Fleet, name: str, event: str = "stage_finished") -> None:
    """Deploy to one host and kill the controller when its switch begins, or has ended."""
    process = fleet.start("deploy", name, "--json")
    read_until(process, stage="switch", event=event)
    kill(process)


def wait_for(host: Host, before: HostState) -> None:
    """Wait until a host runs what it ran before, units and all: they start last."""
    deadline = time.monotonic() + CONFIRM_SECONDS + 20
    while (now := state_of(host)).running != before.running or now.greeting != before.greeting:
        assert time.monotonic() < deadline, state_of(host)
        time.sleep(0.2)


def count(host: Host, unit: str, word: str) -> int:
    """Count how often systemd said so of a unit since the host booted."""
    journal = host.shell(f"journalctl --boot --unit={unit} --output=cat")
    return sum(line.startswith(word) for line in journal.splitlines())


def test_ctrl_c_says_how_to_go_on(fleet: Fleet) -> None:
    """An interrupted run names the command that goes on with it, and that one finishes."""
    fleet.change()
    process = fleet.start("deploy", "carbon", "--json")
    assert process.stdout is not None
    for line in process.stdout:
        if '"event":"stage_started"' in line and '"stage":"copy_closure"' in line:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 4
    run = next(word.strip("`") for word in said.split() if word.startswith("20"))
    assert f"orchestrate resume {run}" in said
    assert fleet.events_of("resume", run).outcomes() == {"carbon": "deployed"}


def kill_at_its_copy(fleet: Fleet, names: str) -> str:
    """Deploy and kill the controller before it has changed any host; give the run's id."""
    process = fleet.start("deploy", names, "--json")
    began = read_until(process, stage="copy_closure", event="stage_started")
    kill(process)
    return str(began["run"])


def test_what_a_later_run_has_changed_is_left_to_it(fleet: Fleet) -> None:
    """To resume a run never puts its older configuration over a newer one's."""
    older = fleet.change()
    run = kill_at_its_copy(fleet, "carbon,boron")
    newer = fleet.change()
    later = fleet.deploy_json("carbon")
    assert later.outcomes() == {"carbon": "deployed"}, later.why()
    by = str(later.events[-1]["run"])
    told = fleet.orchestrate("status", "carbon,boron").stdout
    assert f"run {run}, which has not ended, is superseded there by run {by}" in told
    resumed = fleet.events_of("resume", run)
    assert resumed.outcomes() == {"carbon": "skipped", "boron": "deployed"}, resumed.why()
    assert f"superseded by run {by}" in resumed.hosts["carbon"]["message"]
    assert state_of(fleet["carbon"]).greeting == newer
    assert state_of(fleet["boron"]).greeting == older


def test_cancel_ends_a_run_whose_controller_is_gone(fleet: Fleet, tmp_path: Path) -> None:
    """Nobody else would; a run of another project is none that it means."""
    before = state_of(fleet["carbon"])
    fleet.change()
    run = kill_at_its_copy(fleet, "carbon")
    elsewhere = replace(fleet, directory=tmp_path).with_vars()
    refused = elsewhere.orchestrate("cancel", check=False)
    assert (refused.returncode, "every run of this project has ended" in refused.stderr) == (
        2,
        True,
    )
    said = fleet.orchestrate("cancel").stdout
    assert f"run {run} is cancelled" in said
    assert "its controller is gone" in said
    (newest, *_) = fleet.orchestrate("history").stdout.splitlines()
    assert newest.startswith(f"{run}  ")
    assert newest.endswith(": 1 skipped")
    assert state_of(fleet["carbon"]).running == before.running
