"""A host that fails leaves the others alone, and ends where it was before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import (
    BUILDERS,
    SLOW,
    TARGETS,
    parse,
    read_until_it_begins,
    state_of,
)

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

COMPLAINS = ("sh", "-c", 'echo "bad is $1"; echo "for $(id -un)" >&2; exit 3', "check")

WET_PAINT = """
  { pkgs, ... }: {
    environment.etc.broken.source =
      pkgs.runCommand "bad-on-purpose" { } "echo it is wet paint; exit 1";
  }
"""


def test_each_kind_of_bad_build_is_put_back(fleet: Fleet) -> None:
    """A llama-cli that crashes, babbles, hangs or lacks its GPU leads to the very old system."""
    before = fleet.states()
    fleet.change(broken={name: fault for name, fault, _ in SMOKE_FAULTS})
    impatient = fleet.with_vars(host_vars={"boron": {"orchestrate_smoke_timeout": 3}})
    deployment = impatient.deploy_json("fleet", "--again")
    assert deployment.returncode == 3
    assert deployment.outcomes() == dict.fromkeys(TARGETS, "rolled_back"), deployment.why()
    for name, _, message in SMOKE_FAULTS:
        result = deployment.hosts[name]
        assert message in result["message"]
        assert result["verdict"] == "rolled back"
        assert result["previous"] == result["current"] == before[name].running
        assert_put_back(fleet, name, before[name].running)


def test_failed_machines_leave_the_others(fleet: Fleet) -> None:
    """Where one machine's GPU stays idle and another's unit fails, the others are deployed."""
    before = fleet.states()
    fleet.change(broken={"nitrogen": "not-offloaded"}, failing=("beryllium",))
    deployment = fleet.deploy_json("fleet", "--again")
    assert deployment.returncode == 3
    assert_only(deployment, beryllium="rolled_back", nitrogen="rolled_back")
    assert "greeter.service" in deployment.hosts["beryllium"]["message"]
    assert "on CPU, not on Vulkan" in deployment.hosts["nitrogen"]["message"]
    for name in ("beryllium", "nitrogen"):
        assert_put_back(fleet, name, before[name].running)
    fleet["nitrogen"].reboot()
    assert state_of(fleet["nitrogen"]).running == before["nitrogen"].running


def test_failed_units_can_be_accepted(fleet: Fleet) -> None:
    """Where the inventory says so, a system with a failed unit stays, and the verdict names it."""
    greeting = fleet.change(failing=("carbon", "beryllium"))
    tolerant = fleet.with_vars(host_vars={"carbon": {"orchestrate_failed_units": "accept"}})
    deployment = tolerant.deploy_json("carbon,beryllium")
    assert deployment.outcomes() == {"carbon": "deployed", "beryllium": "rolled_back"}
    result = deployment.hosts["carbon"]
    assert (result["verdict"], result["failed_units"]) == ("units failed", ["greeter.service"])
    assert "greeter.service" in result["message"]
    state = state_of(fleet["carbon"])
    assert state.running == state.boot_default == result["current"]
    assert (state.greeting, state.rollback_armed) == (greeting, False)
    fleet.change()
    assert fleet.deploy_json("carbon,beryllium").returncode == 0


def test_health_check_decides(fleet: Fleet) -> None:
    """A check of the user's runs as root after the smoke; where it fails or hangs, back it goes."""
    before = fleet.states()
    greeting = fleet.change()
    asks = f"grep -q '{greeting}' /run/greeter/greeting && [ $(id -u) = 0 ]"
    checked = fleet.with_vars(
        {"orchestrate_health_check": asks},
        {
            "beryllium": {"orchestrate_health_check": [*COMPLAINS, "it's $HOME"]},
            "boron": {
                "orchestrate_health_check": ["sleep", "30"],
                "orchestrate_health_timeout": 1,
            },
        },
    )
    deployment = checked.deploy_json()
    assert_only(deployment, beryllium="rolled_back", boron="rolled_back")
    assert deployment.hosts["boron"]["message"].startswith("the health check did not end within 1")
    (failed,) = deployment.find(stage="health_check", event="stage_failed", host="beryllium")
    assert failed["last_lines"] == ["bad is it's $HOME", "for root"]
    assert failed["message"] == "the health check failed (exit code 3)"
    for name in ("beryllium", "boron"):
        assert_put_back(fleet, name, before[name].running)
    fleet.change()
    assert fleet.deploy_json().returncode == 0


def test_unreachable_host_is_left_out(fleet: Fleet) -> None:
    """A host that is cut off is named after the connect timeout; later it is reached."""
    greeting = fleet.change()
    cut = fleet["nitrogen"]
    cut.cut()
    try:
        deployment = fleet.deploy_json("carbon,nitrogen")
    finally:
        cut.restore()
    assert deployment.returncode == 3
    assert deployment.outcomes() == {"carbon": "deployed", "nitrogen": "unreachable"}
    assert "no answer" in deployment.hosts["nitrogen"]["message"]
    noticed = deployment.find(host="nitrogen", stage="facts", event="stage_failed")[0]["ts"]
    assert noticed - deployment.events[0]["ts"] < CONNECT_SECONDS + 3
    again = fleet.deploy_json("carbon,nitrogen")
    assert again.outcomes() == {"carbon": "unchanged", "nitrogen": "deployed"}, again.why()
    assert state_of(cut).greeting == greeting


def test_what_nix_refuses_is_told_and_left_out(fleet: Fleet) -> None:
    """A configuration that is wrong and a build that fails are told in Nix's own words."""
    before = fleet.states()
    fleet.change(extra={"boron": "{ noSuchOption = true; }", "carbon": WET_PAINT})
    deployment = fleet.deploy_json()
    assert deployment.returncode == 3
    assert_only(deployment, boron="failed", carbon="failed")
    assert "noSuchOption" in deployment.failure("boron")
    (failed,) = deployment.find(stage="build", event="stage_failed")
    assert any("it is wet paint" in line for line in failed["last_lines"])
    for name in ("boron", "carbon"):
        assert state_of(fleet[name]) == before[name]


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
    for said in (facts.stderr, deployment.failure("carbon")):
        assert "host key" in said
    assert fleet["carbon"].shell(logins) == before


def assert_only(deployment: Deployment, **outcomes: str) -> None:
    """Check that these hosts ended so, and that every other one is deployed."""
    expected = dict.fromkeys(TARGETS, "deployed") | outcomes
    assert deployment.outcomes() == expected, deployment.why()


def assert_put_back(fleet: Fleet, name: str, system: str) -> None:
    """Check on the host that it runs and boots this system, with no automatic rollback armed."""
    state = state_of(fleet[name])
    assert (state.running, state.boot_default) == (system, system)
    assert not state.rollback_armed


def test_a_host_that_somebody_changes_meanwhile_is_left_as_it_is(fleet: Fleet) -> None:
    """Another system than when the plan was made: not switched, and not put back either."""
    carbon = fleet["carbon"]
    fleet.change()
    assert fleet.deploy_json("carbon").returncode == 0
    before = state_of(carbon)
    generations = carbon.shell("readlink -f /nix/var/nix/profiles/system-*-link").split()
    by_hand = next(one for one in reversed(generations) if one != before.running)
    fleet.change(extra={"carbon": SLOW % (6, "meanwhile")})
    process = fleet.start("deploy", "carbon", "--json")
    read_until_it_begins(process)
    carbon.shell(f"{by_hand}/bin/switch-to-configuration test")
    try:
        output, said = process.communicate(timeout=60)
        after = state_of(carbon)
    finally:
        carbon.shell(f"{before.running}/bin/switch-to-configuration test")
    refused = parse(output, process.returncode, said)
    assert refused.returncode == 3, refused.why()
    assert refused.hosts["carbon"]["verdict"] == "untouched"
    assert refused.hosts["carbon"]["current"] == after.running == by_hand
    assert after.boot_default == before.boot_default
    assert not after.rollback_armed


FLAKY = """
  {
    systemd.services.flaky = {
      wantedBy = [ "multi-user.target" ];
      serviceConfig.Type = "oneshot";
      script = "test -e /run/flaky-ok%s";
    };
    # systemd starts it again for ever, and it is never in the state "failed".
    systemd.services.looping = {
      wantedBy = [ "multi-user.target" ];
      unitConfig.StartLimitIntervalSec = 0;
      serviceConfig = {
        Restart = "always";
        RestartSec = 600;
      };
      script = "test -e /run/flaky-ok && exec sleep 1000";
    };
  }
"""


def test_a_unit_that_had_failed_before_is_not_the_new_systems_fault(fleet: Fleet) -> None:
    """It is named by the plan, and counts only where the new system has it otherwise."""
    host = fleet["nitrogen"]
    host.shell("touch /run/flaky-ok")
    fleet.change(extra={"nitrogen": FLAKY % ""})
    assert fleet.deploy_json("nitrogen").returncode == 0
    host.shell("rm /run/flaky-ok; systemctl restart flaky.service looping.service || true")
    fleet.change(extra={"nitrogen": FLAKY % ""})
    said = fleet.orchestrate("plan", "nitrogen").stdout
    assert "failed there already: flaky.service, looping.service" in said
    deployment = fleet.deploy_json("nitrogen")
    assert deployment.outcomes() == {"nitrogen": "deployed"}, deployment.why()
    fleet.change(extra={"nitrogen": FLAKY % "-now"})
    deployment = fleet.deploy_json("nitrogen")
    assert deployment.outcomes() == {"nitrogen": "rolled_back"}, deployment.why()
    assert deployment.hosts["nitrogen"]["verdict"] == "rolled back"
    assert "units failed: flaky.service" in deployment.hosts["nitrogen"]["message"]
    fleet.change()
    assert fleet.deploy_json("nitrogen").returncode == 0


def test_a_damaged_store_is_its_hosts_alone(fleet: Fleet) -> None:
    """What Nix takes to be there and the disk lacks is named before anything is touched.

    What goes wrong with it in a smoke test is held against no package, and an old system
    that lacks the same is none that a rollback proves.
    """
    host = fleet["nitrogen"]
    fleet.change()
    assert fleet.deploy_json("nitrogen").returncode == 0
    before = state_of(host)
    package = host.shell("dirname $(dirname $(readlink -f /run/current-system/sw/bin/llama-cli))")
    package = package.strip()
    host.shell(f"mv {package} /nix/saved")
    try:
        fleet.change()
        deployment = fleet.deploy_json("nitrogen")
        smoked = fleet.orchestrate("smoke", "nitrogen", check=False)
    finally:
        host.shell(f"mv /nix/saved {package}")
    result = deployment.hosts["nitrogen"]
    assert result["outcome"] == "failed", deployment.why()
    assert f"its store is damaged: its disk lacks {package}" in result["message"]
    assert "nix-store --verify --check-contents --repair" in result["failure"]["hint"]
    assert not deployment.find(event="quarantined")
    assert state_of(host).running == before.running
    assert "its store is damaged" in smoked.stdout
    program = f"{package}/lib/.llama-cli"
    host.shell(f"cp -a {program} /nix/saved; truncate -s 4096 {program}")
    try:
        fleet.change()
        deployment = fleet.deploy_json("nitrogen")
    finally:
        host.shell(f"cp -a /nix/saved {program}; rm /nix/saved")
    assert deployment.hosts["nitrogen"]["verdict"] == "degraded", deployment.why()
    assert f"its store is damaged: {package}" in deployment.hosts["nitrogen"]["message"]
    assert not deployment.find(event="quarantined")
    assert fleet.deploy_json("nitrogen").outcomes() == {"nitrogen": "deployed"}


def test_a_package_that_its_hosts_disk_has_spoilt_is_not_quarantined(fleet: Fleet) -> None:
    """Without its GPU's library llama-cli ends with 0, and the old system's passes."""
    host = fleet["nitrogen"]
    library = host.shell(
        "find $(dirname $(readlink -f /run/current-system/sw/bin/llama-cli))/../lib/"
        " -name 'libggml-vulkan*.so' -type f"
    ).splitlines()[0]
    host.shell("ln -sfn $(readlink -f /run/current-system) /nix/var/nix/gcroots/test")
    on_cpu = fleet.with_vars(host_vars={"nitrogen": {"orchestrate_llama_variant": "cpu"}})
    assert on_cpu.deploy_json("nitrogen").returncode == 0
    host.shell(f"cp -a {library} /nix/saved; truncate -s 0 {library}")
    try:
        deployment = fleet.deploy_json("nitrogen")
    finally:
        host.shell(f"cp -a /nix/saved {library}; rm /nix/saved /nix/var/nix/gcroots/test")
    result = deployment.hosts["nitrogen"]
    assert result["verdict"] == "rolled back", deployment.why()
    assert "not on Vulkan" in result["message"]
    assert "its store is damaged: /nix/store/" in result["message"]
    assert not deployment.find(event="quarantined")
    assert fleet.deploy_json("nitrogen").outcomes() == {"nitrogen": "deployed"}
