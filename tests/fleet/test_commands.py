"""The commands that look, and the one that only builds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.fleet.fleet import BUILDERS, ORCHESTRATE, TARGETS, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fleet.fleet import Fleet
    from tests.lab import Host

pytestmark = pytest.mark.lab


def test_facts_are_the_hosts_own(fleet: Fleet) -> None:
    """`orchestrate facts` says of each machine what the machine itself says."""
    found = {facts["host"]: facts for facts in lines(fleet.orchestrate("facts", "--json").stdout)}
    assert set(found) == set(TARGETS)
    for name, state in fleet.states().items():
        assert found[name]["boot_id"] == state.boot_id
        assert found[name]["running_system"] == state.running
        assert found[name]["boot_default"] == state.boot_default


def test_plan_shows_what_would_change(fleet: Fleet) -> None:
    """`orchestrate plan` names each machine's variant and the builds, and touches nothing."""
    fleet.change()
    before = fleet.states()
    plan = json.loads(fleet.orchestrate("plan", "--json").stdout)
    variants = {host["host"]["name"]: host["choice"]["variant"] for host in plan["hosts"]}
    assert variants["nitrogen"] == "vulkan"
    assert {host["action"] for host in plan["hosts"]} == {"deploy"}
    assert {build["builder"] for build in plan["builds"]} <= set(BUILDERS)
    shown = fleet.orchestrate("plan").stdout
    assert all(f"{name}: " in shown for name in TARGETS)
    assert fleet.states() == before


def test_build_builds_and_touches_no_machine(fleet: Fleet) -> None:
    """`orchestrate build` leaves every system on a builder and every target as it was."""
    fleet.change()
    before = fleet.states()
    built = fleet.events_of("build")
    assert built.returncode == 0, built.why()
    assert fleet.states() == before
    outputs = {
        event["report"]["output"]: event["report"]["builder"]
        for event in built.find(stage="build", event="stage_finished")
    }
    systems = [path for path in outputs if "nixos-system" in path]
    assert len(systems) == len(TARGETS)
    for path in systems:
        fleet[outputs[path]].exec("test", "-e", path)


def test_smoke_asks_what_runs_now(fleet: Fleet) -> None:
    """`orchestrate smoke` lets each machine's llama-cli answer, on its variant's backend."""
    reports = lines(fleet.orchestrate("smoke", "--json").stdout)
    assert {report["host"] for report in reports if report["passed"]} == set(TARGETS)
    backends = {report["host"]: report["backend"] for report in reports}
    assert backends == dict.fromkeys(TARGETS, "CPU") | {"nitrogen": "Vulkan"}


def test_nvidia_card_asks_for_cuda(fleet: Fleet) -> None:
    """A machine with an NVIDIA card is to get CUDA, from the builder that has the feature."""
    free = fleet.with_vars(host_vars={"nitrogen": {"orchestrate_llama_variant": None}})
    free.change()
    with nvidia_card(fleet["nitrogen"]):
        plan = json.loads(free.orchestrate("plan", "nitrogen", "--json").stdout)
        built = free.events_of("build", "nitrogen")
    (host,) = plan["hosts"]
    assert host["choice"]["variant"].startswith("cuda")
    assert "RTX 4090" in host["choice"]["reason"]
    assert {build["builder"] for build in plan["builds"]} == {"forge"}
    (package, *systems) = plan["builds"]
    # The other one is what the stand-in's own derivation requires.
    assert package["features"] == ["cuda", "llama-deb"]
    # What only puts packages together doesn't need what they do.
    assert all("cuda" not in build["features"] for build in systems)
    # Nothing can compile CUDA in the lab: the stand-in's build fails on purpose.
    assert built.returncode == 3
    assert "the build failed" in built.hosts["nitrogen"]["message"]


@contextmanager
def nvidia_card(host: Host) -> Iterator[None]:
    """Have a driver's program on a host that says what an RTX 4090's says."""
    program = "/usr/local/bin/nvidia-smi"
    card = '#!/bin/sh\necho "NVIDIA GeForce RTX 4090, 560.35.03, 8.9, 24564"\n'
    host.exec("sh", "-euc", f"cat >{program}; chmod +x {program}", stdin=card)
    try:
        yield
    finally:
        host.exec("rm", program)


def lines(output: str) -> list[dict[str, Any]]:
    """Read one JSON object a line."""
    return [json.loads(line) for line in output.splitlines()]


def answered(fleet: Fleet, answer: str, *args: str) -> tuple[int, str]:
    """Run a command on a terminal and answer its question; give its end and what it said."""
    here, there = os.openpty()
    process = fleet.controller.popen(
        fleet.argv(*args),
        env=fleet.env,
        cwd=fleet.directory,
        stdin=there,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(there)
    os.write(here, f"{answer}\n".encode())
    said, _ = process.communicate(timeout=60)
    os.close(here)
    return process.returncode, said


def test_a_terminal_is_asked_once(fleet: Fleet) -> None:
    """What would change is shown; without a yes nothing does. A script says so beforehand."""
    before = state_of(fleet["carbon"])
    greeting = fleet.change()
    code, said = answered(fleet, "n", "deploy", "carbon")
    assert (code, "hosts to change: 1 of 1" in said) == (2, True), said
    assert "nothing was changed" in said
    assert state_of(fleet["carbon"]).running == before.running
    code, said = answered(fleet, "y", "deploy", "carbon")
    assert (code, said.count("Begin?")) == (0, 1), said
    assert state_of(fleet["carbon"]).greeting == greeting
    code, said = answered(fleet, "", "rollback", "carbon", "--yes")
    assert (code, "Begin?" in said) == (0, False), said
    configuration = fleet.directory / "orchestrate.toml"
    configuration.write_text('ask = "always"\n')
    try:
        refused = fleet.orchestrate("deploy", "carbon,boron", check=False)
    finally:
        configuration.unlink()
    assert (refused.returncode, "pass --yes" in refused.stderr) == (2, True), refused.stderr
    assert fleet.orchestrate("rollback", check=False).returncode == 2


# Of the form that nixos-generate-config.pl of nixpkgs 2026-07 prints.
HARDWARE = """\
{ config, lib, pkgs, modulesPath, ... }:

{
  imports = [ ];

  boot.initrd.availableKernelModules = [ "xhci_pci" "nvme" ];

  fileSystems."/" =
    { device = "/dev/disk/by-uuid/6f1b4c7e-0a52-4f3e-9d3e-2f4c1a5b7e90";
      fsType = "ext4";
    };

  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
}
"""


def test_a_flake_for_hosts_has_their_own_disks(fleet: Fleet, tmp_path: Path) -> None:
    """They are asked of the machine; of one that can't say, none are guessed."""
    home = tmp_path / "home"
    ssh = home / ".ssh"
    ssh.mkdir(parents=True)
    shutil.copy(fleet.lab.private_key, ssh / "id_ed25519")
    shutil.copy(fleet.lab.known_hosts, ssh / "known_hosts")
    (ssh / "me.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAItried me@laptop\n")
    program = "/usr/local/bin/nixos-generate-config"
    prints = f"#!/bin/sh\n[ \"$*\" = --show-hardware-config ] || exit 2\ncat <<'E'\n{HARDWARE}E\n"
    fleet["carbon"].exec("sh", "-euc", f"cat >{program}; chmod +x {program}", stdin=prints)
    try:
        made = fleet.lab.controller(home=home).run(
            [
                *(*ORCHESTRATE, "init", "--standalone", "--ssh-key", str(ssh / "me.pub")),
                *(f"{name}={fleet[name].address}" for name in ("carbon", "nitrogen")),
            ],
            env=fleet.env,
            cwd=tmp_path,
        )
    finally:
        fleet["carbon"].shell(f"rm {program}")
    assert (tmp_path / "hardware" / "carbon.nix").read_text() == HARDWARE
    assert "throw" in (tmp_path / "hardware" / "nitrogen.nix").read_text()
    assert "nitrogen: its disks are not known: " in made.stderr
    assert "hardware/nitrogen.nix: to be edited" in made.stdout
    assert "hardware/carbon.nix: to be edited" not in made.stdout
