"""A host that fails leaves the others alone, and ends where it was before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import BUILDERS, TARGETS, state_of

if TYPE_CHECKING:
    from tests.fleet.fleet import Deployment, Fleet
    from tests.lab.fleet_flake import Fault

pytestmark = pytest.mark.lab

CONNECT_SECONDS = 5.0
"""The connect timeout that holds where the inventory names none."""

SMOKE_FAULTS: tuple[tuple[str, Fault, str], ...] = (
    ("carbon", "crash", "illegal instruction"),
    ("beryllium", "garbage", "not on CPU"),
    ("boron", "hang", "no answer within 3 seconds"),
    ("nitrogen", "no-backend", "not on Vulkan"),
)


def test_each_kind_of_bad_build_is_put_back(fleet: Fleet) -> None:
    """A llama-cli that crashes, babbles, hangs or lacks its GPU leads to the very old system."""
    before = fleet.states()
    fleet.change(broken={name: fault for name, fault, _ in SMOKE_FAULTS})
    impatient = fleet.with_vars(host_vars={"boron": {"orchestrate_smoke_timeout": 3}})
    deployment = impatient.deploy_json()
    assert deployment.returncode == 3
    assert deployment.outcomes() == dict.fromkeys(TARGETS, "rolled_back"), deployment.why()
    for name, _, message in SMOKE_FAULTS:
        result = deployment.hosts[name]
        assert message in result["message"]
        assert result["verdict"] == "rolled back good"
        assert result["previous"] == result["current"] == before[name].running
        assert_put_back(fleet, name, before[name].running)


def test_bad_build_of_one_host_leaves_the_others(fleet: Fleet) -> None:
    """Where one host is put back the others are deployed, and the exit code is 3."""
    before = state_of(fleet["nitrogen"]).running
    fleet.change(broken={"nitrogen": "not-offloaded"})
    deployment = fleet.deploy_json()
    assert deployment.returncode == 3
    assert_only(deployment, "nitrogen", "rolled_back")
    assert_put_back(fleet, "nitrogen", before)
    fleet["nitrogen"].reboot()
    assert state_of(fleet["nitrogen"]).running == before


def test_failed_unit_is_put_back(fleet: Fleet) -> None:
    """A system whose unit doesn't start is left again, and the message names the unit."""
    before = state_of(fleet["beryllium"]).running
    fleet.change(failing=("beryllium",))
    deployment = fleet.deploy_json()
    assert deployment.returncode == 3
    assert_only(deployment, "beryllium", "rolled_back")
    assert "greeter.service" in deployment.hosts["beryllium"]["message"]
    assert_put_back(fleet, "beryllium", before)


def test_unreachable_host_is_left_out(fleet: Fleet) -> None:
    """A host that is cut off is named after the connect timeout; later it is reached."""
    greeting = fleet.change()
    cut = fleet["nitrogen"]
    cut.cut()
    try:
        deployment = fleet.deploy_json()
    finally:
        cut.restore()
    assert deployment.returncode == 3
    assert_only(deployment, "nitrogen", "unreachable")
    assert "no answer" in deployment.hosts["nitrogen"]["message"]
    noticed = deployment.find(host="nitrogen", stage="facts", event="stage_failed")[0]["ts"]
    assert noticed - deployment.events[0]["ts"] < CONNECT_SECONDS + 3
    again = fleet.deploy_json()
    assert again.outcomes() == dict.fromkeys(TARGETS, "unchanged") | {"nitrogen": "deployed"}
    assert state_of(cut).greeting == greeting


def test_configuration_that_does_not_evaluate(fleet: Fleet) -> None:
    """A host whose configuration is wrong fails with Nix's own words; the others go on."""
    before = state_of(fleet["boron"])
    fleet.change(extra={"boron": "{ noSuchOption = true; }"})
    deployment = fleet.deploy_json()
    assert deployment.returncode == 3
    assert_only(deployment, "boron", "failed")
    assert "noSuchOption" in deployment.hosts["boron"]["message"]
    assert state_of(fleet["boron"]) == before


def test_build_that_fails(fleet: Fleet) -> None:
    """A host whose system can't be built fails with the end of the log; the others go on."""
    before = state_of(fleet["carbon"])
    module = """
      { pkgs, ... }: {
        environment.etc.broken.source =
          pkgs.runCommand "bad-on-purpose" { } "echo it is wet paint; exit 1";
      }
    """
    fleet.change(extra={"carbon": module})
    deployment = fleet.deploy_json()
    assert deployment.returncode == 3
    assert_only(deployment, "carbon", "failed")
    (failed,) = deployment.find(stage="build", event="stage_failed")
    assert any("it is wet paint" in line for line in failed["last_lines"])
    assert state_of(fleet["carbon"]) == before


def test_builder_that_is_down_is_replaced(fleet: Fleet) -> None:
    """What a dead builder would build goes to the other one, where that fits."""
    fleet.change()
    fleet["anvil"].stop("sshd")
    try:
        deployment = fleet.deploy_json()
    finally:
        fleet["anvil"].start("sshd")
    assert deployment.returncode == 0, deployment.why()
    reports = [event["report"] for event in deployment.find(stage="build", event="stage_finished")]
    assert {report["builder"] for report in reports} == {"forge"}


def test_no_builder_left_stops_before_anything(fleet: Fleet) -> None:
    """Without any builder the run ends with 2 and names them, and no host is touched."""
    before = fleet.states()
    fleet.change()
    for name in BUILDERS:
        fleet[name].stop("sshd")
    try:
        deployment = fleet.deploy_json()
    finally:
        for name in BUILDERS:
            fleet[name].start("sshd")
    assert deployment.returncode == 2
    assert all(f"{name}: it does not answer" in deployment.stderr for name in BUILDERS)
    assert fleet.states() == before


def test_changed_host_key_is_refused(fleet: Fleet) -> None:
    """A host with another key than the recorded one is never logged in to."""
    known = fleet.directory / "known_hosts"
    other = fleet["boron"].public_host_key
    right = fleet["carbon"].public_host_key
    known.write_text(fleet.lab.known_hosts.read_text().replace(right, other))
    doubting = fleet.with_vars({"orchestrate_known_hosts": str(known)})
    logins = "journalctl --unit=ssh --output=cat | grep -c Accepted"
    before = fleet["carbon"].shell(logins)
    facts = doubting.orchestrate("facts", "carbon", check=False)
    deployment = doubting.deploy_json("carbon")
    assert facts.returncode == deployment.returncode == 3
    assert deployment.outcomes() == {"carbon": "unreachable"}
    for said in (facts.stderr, deployment.hosts["carbon"]["message"]):
        assert "host key" in said
    assert fleet["carbon"].shell(logins) == before


def assert_only(deployment: Deployment, host: str, outcome: str) -> None:
    """Check that this host ended so, and that every other one is deployed."""
    expected = dict.fromkeys(TARGETS, "deployed") | {host: outcome}
    assert deployment.outcomes() == expected, deployment.why()


def assert_put_back(fleet: Fleet, name: str, system: str) -> None:
    """Check on the host that it runs and boots this system, with no way back armed."""
    state = state_of(fleet[name])
    assert (state.running, state.boot_default) == (system, system)
    assert not state.way_back_armed
