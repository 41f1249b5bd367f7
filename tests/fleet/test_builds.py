"""Builds on real builders: lost in the middle, failing for good, wanted by two at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fleet.cluster import cluster, kill_workers
from tests.fleet.fleet import (
    BUILDERS,
    SLOW,
    Deployment,
    Fleet,
    kill,
    parse,
    read_until_it_begins,
    state_of,
)
from tests.lab.fleet_flake import write_fleet_flake

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

pytestmark = pytest.mark.lab

WET_PAINT = """
  { pkgs, ... }: {
    environment.etc.broken.source = pkgs.runCommand "wet-paint" { } "echo still wet; exit 1";
  }
"""


def test_builder_that_is_cut_off_in_mid_build_is_replaced(fleet: Fleet) -> None:
    """A builder whose network vanishes under a build is noticed, and another one finishes."""
    fleet.change(extra={"carbon": SLOW % (8, "cut")})
    process = fleet.start("deploy", "carbon", "--json")
    first = read_until_it_begins(process)
    fleet[first["host"]].cut()
    try:
        output, said = process.communicate(timeout=120)
    finally:
        fleet[first["host"]].restore()
    deployment = parse(output, process.returncode, said)
    assert deployment.returncode == 0, deployment.why()
    (lost,) = deployment.find(stage="build", event="builder_lost")
    assert lost["host"] == first["host"]
    assert lost["ts"] - first["ts"] < 30
    (other,) = set(BUILDERS) - {first["host"]}
    assert f"the work moves to {other}" in lost["message"]


def test_a_build_outlives_controller_worker_and_connection(fleet: Fleet, tmp_path: Path) -> None:
    """Each killed in turn in mid-build: `resume` ends well, with one build made."""
    fleet.change(extra={"carbon": SLOW % (45, "in turn")})
    with cluster(fleet, tmp_path) as shared:
        process = shared.start("deploy", "carbon", "--json")
        begun = read_until_it_begins(process)
        kill(process)
        process = shared.start("resume", "--json")
        assert read_until_it_begins(process)["host"] == begun["host"]
        kill_workers(shared)
        # The next worker follows the same build, from its log's begin.
        assert read_until_it_begins(process)["host"] == begun["host"]
        resumed = _resumed_without_connection(shared, begun["host"], process)
    assert resumed.outcomes() == {"carbon": "deployed"}, resumed.why()
    assert not resumed.find(event="builder_lost")
    reports = [event["report"] for event in resumed.find(stage="build", event="stage_finished")]
    assert {report["builder"] for report in reports} == {begun["host"]}
    assert starts_of(fleet, begun) == 1


def _resumed_without_connection(
    fleet: Fleet, builder: str, process: subprocess.Popen[str]
) -> Deployment:
    """Cut every session on the builder, and wait for the end of what resumed."""
    # The listening daemon lives: it is called `sshd: /usr/sbin/sshd -D [listener]`.
    sessions = fleet[builder].shell("pgrep --full '^sshd(-session)?: .*@|^sshd-session: '").split()
    assert sessions
    fleet[builder].shell(f"kill -KILL {' '.join(sessions)}")
    output, said = process.communicate(timeout=120)
    return parse(output, process.returncode, said)


def test_cancel_stops_the_build_on_its_builder(fleet: Fleet) -> None:
    """After `orchestrate cancel` the remote unit is gone, and the host was left alone."""
    before = state_of(fleet["carbon"])
    fleet.change(extra={"carbon": SLOW % (60, "never")})
    process = fleet.start("deploy", "carbon", "--json")
    begun = read_until_it_begins(process)
    for told in ("pause", "continue"):
        assert begun["run"] in fleet.orchestrate(told).stdout
    said = fleet.orchestrate("cancel").stdout
    assert begun["run"] in said
    output, errors = process.communicate(timeout=30)
    cancelled = parse(output, process.returncode, errors)
    assert cancelled.returncode == 3
    assert cancelled.outcomes() == {"carbon": "skipped"}, cancelled.why()
    assert cancelled.hosts["carbon"]["message"] == "the run was cancelled"
    units = "systemctl list-units --plain --no-legend 'orchestrate-build-*' | wc -l"
    assert int(fleet[begun["host"]].shell(units)) == 0
    assert state_of(fleet["carbon"]).running == before.running
    again = fleet.orchestrate("cancel", begun["run"], check=False)
    assert again.returncode == 2
    assert "has ended already" in again.stderr


def test_what_truly_fails_is_tried_once(fleet: Fleet) -> None:
    """A build that fails is tried on no other builder, and again only when asked to."""
    fleet.change(extra={"carbon": WET_PAINT})
    first = fleet.deploy_json("carbon")
    assert first.outcomes() == {"carbon": "failed"}, first.why()
    assert not first.find(event="builder_lost")
    again = fleet.deploy_json("carbon,nitrogen")
    assert again.outcomes() == {"carbon": "skipped", "nitrogen": "deployed"}, again.why()
    assert "failed before" in again.hosts["carbon"]["message"]
    assert "--retry-failed" in again.failure("carbon")
    assert not [event for event in again.find(event="log_line") if "still wet" in event["line"]]
    asked = fleet.deploy_json("carbon", "--retry-failed")
    assert "failed before" not in asked.hosts["carbon"]["message"]
    assert [event for event in asked.find(event="log_line") if "still wet" in event["line"]]


def test_a_plan_reads_what_derivations_require(fleet: Fleet) -> None:
    """The package asks for a builder with Debian's llama.cpp, its system for nothing."""
    fleet.change()
    llama, system = json.loads(fleet.orchestrate("plan", "carbon", "--json").stdout)["builds"]
    assert (llama["features"], llama["is_available"]) == (["llama-deb"], True)
    assert (system["features"], system["after"]) == ([], llama["derivation"])
    assert system["builder"] == llama["builder"]


def test_what_a_builder_has_is_not_built(fleet: Fleet) -> None:
    """After `orchestrate build` a plan finds the system on its builder, and no work for llama."""
    fleet.change()
    built = fleet.events_of("build", "carbon")
    (system,) = [
        event["report"]
        for event in built.find(stage="build", event="stage_finished")
        if "nixos-system" in event["report"]["output"]
    ]
    (planned,) = json.loads(fleet.orchestrate("plan", "carbon", "--json").stdout)["builds"]
    assert (planned["output"], planned["builder"]) == (system["output"], system["builder"])
    assert (planned["is_available"], planned["reason"]) == (True, "it is there already")
    deployment = fleet.deploy_json("carbon")
    assert deployment.outcomes() == {"carbon": "deployed"}, deployment.why()
    (finished,) = deployment.find(stage="build", event="stage_finished")
    assert finished["report"]["was_valid"]


def test_what_the_host_has_is_neither_built_nor_copied(fleet: Fleet) -> None:
    """A flake put back to what a host ran before finds that system in its store."""
    first = fleet.change()
    assert fleet.deploy_json("carbon").outcomes() == {"carbon": "deployed"}
    fleet.change()
    assert fleet.deploy_json("carbon").outcomes() == {"carbon": "deployed"}
    write_fleet_flake(fleet.flake, greeting=first)
    back = fleet.deploy_json("carbon")
    assert back.outcomes() == {"carbon": "deployed"}, back.why()
    assert not back.find(stage="build")
    (copied,) = back.find(stage="copy_closure", event="stage_finished")
    assert (copied["report"]["copied_paths"], copied["report"]["route"]) == (
        0,
        "it is there already",
    )
    assert state_of(fleet["carbon"]).greeting == first


def test_what_a_substituter_has_is_not_built(fleet: Fleet) -> None:
    """A system in a binary cache is fetched by the builder that asks there."""
    fleet.change()
    built = fleet.events_of("build", "carbon")
    assert built.outcomes() == {"carbon": "built"}, built.why()
    forge, anvil = fleet["forge"], fleet["anvil"]
    made_on = {
        event["report"]["output"]: event["report"]["builder"]
        for event in built.find(stage="build", event="stage_finished")
    }
    (system,) = [output for output in made_on if "nixos-system" in output]
    maker = fleet[made_on[system]]
    maker.shell(f"{COPY_TO_CACHE} {system}")
    for builder in (forge, anvil):
        builder.shell("rm -rf /var/lib/orchestrate/builds/*")
        builder.exec("nix-store", "--delete", system, check=False)
    maker.shell(ASK_CACHE)
    try:
        (planned,) = json.loads(fleet.orchestrate("plan", "carbon", "--json").stdout)["builds"]
        assert planned["reason"] == f"a substituter of {maker.name} has it"
        deployment = fleet.deploy_json("carbon")
    finally:
        maker.shell("mv /etc/nix/nix.conf.before /etc/nix/nix.conf; systemctl restart nix-daemon")
    assert deployment.outcomes() == {"carbon": "deployed"}, deployment.why()


COPY_TO_CACHE = "nix --extra-experimental-features nix-command copy --to file:///var/cache/binary"
ASK_CACHE = """
cp /etc/nix/nix.conf /etc/nix/nix.conf.before
printf '%s\\n' 'substituters = file:///var/cache/binary' 'require-sigs = false' >>/etc/nix/nix.conf
systemctl restart nix-daemon
"""


def starts_of(fleet: Fleet, begun: dict[str, Any]) -> int:
    """Count how often the build of an event was started on its builder."""
    unit = f"orchestrate-build-{begun['derivation'].removeprefix('/nix/store/')[:32]}"
    journal = fleet[begun["host"]].shell(f"journalctl --unit={unit} --output=cat")
    return sum(line.startswith("Started") for line in journal.splitlines())
