"""Deployments through the real nixos-rebuild and the real switch-to-configuration.

`ORCHESTRATE_NIXPKGS` names a checkout of nixpkgs, whose nixos-rebuild-ng runs on a host of
the lab as it stands; `ORCHESTRATE_SWITCH_TO_CONFIGURATION` names a binary of its
switch-to-configuration-ng. The system around them is the stand-in's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import Deployment, Fleet, HostState, new_fleet, state_of
from tests.fleet.rebuild import add_to_store, nixos_rebuild
from tests.lab import Host, running_lab
from tests.lab.spec import named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.fleet_flake import Fault

NIXPKGS = os.environ.get("ORCHESTRATE_NIXPKGS", "")
SWITCH = os.environ.get("ORCHESTRATE_SWITCH_TO_CONFIGURATION", "")

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not NIXPKGS, reason="ORCHESTRATE_NIXPKGS names no checkout"),
]

NAME = "nitrogen"
JOURNAL = "journalctl --quiet --output=cat --unit=nixos-rebuild-switch-to-configuration.service"
LOCK = "/run/nixos/switch-to-configuration.lock"

WRAPPER = b"""\
#!/bin/sh
PYTHONPATH=$(dirname "$(readlink -f "$0")")/../lib/python3/site-packages \\
  exec python3 -B -m nixos_rebuild "$@"
"""


@dataclass(frozen=True)
class RealHost:
    """A host with the real programs, and the fleet that it is in.

    Args:
        fleet: it and a builder.
        host: the host.
        module: what each of its systems has, as Nix text without the braces.
    """

    fleet: Fleet
    host: Host
    module: str

    def change(self, extra: str = "", *, broken: Fault | None = None) -> str:
        """Change the user's flake so that the host gets a new system; give its greeting."""
        return self.fleet.change(
            broken={NAME: broken} if broken else None, extra={NAME: f"{{ {self.module} {extra} }}"}
        )

    def deploy(self, *options: str) -> Deployment:
        """Deploy to it and read the events."""
        return self.fleet.deploy_json(NAME, *options)

    @property
    def state(self) -> HostState:
        """Return what it says of itself."""
        return state_of(self.host)


def package() -> dict[str, bytes]:
    """Read nixos-rebuild-ng's own package out of the checkout."""
    source = Path(NIXPKGS) / "pkgs/by-name/ni/nixos-rebuild-ng/src/nixos_rebuild"
    modules = {
        f"lib/python3/site-packages/nixos_rebuild/{file.name}": file.read_bytes()
        for file in sorted(source.iterdir())
        if file.is_file()
    }
    assert modules, f"{source} has no nixos-rebuild"
    return {"bin/nixos-rebuild": WRAPPER, **modules}


@pytest.fixture(scope="module", params=["stand-in", "real"])
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealHost]:
    """Give a host that runs a system of ours, switched to by the real nixos-rebuild."""
    module = ""
    if request.param == "real" and not SWITCH:
        pytest.skip("ORCHESTRATE_SWITCH_TO_CONFIGURATION names no binary")
    with running_lab(named((NAME, "forge"))) as lab:
        fleet = new_fleet(lab, tmp_path_factory.mktemp("real"))
        host = lab[NAME]
        made = RealHost(fleet, host, module)
        made.change()
        assert made.deploy().returncode == 0
        if request.param == "real":
            # It asks logind who is logged in, and starts what multi-user.target wants: also
            # the lab's own unit that activates at boot, in the middle of an activation.
            host.shell(
                "systemctl unmask --quiet systemd-logind.service; systemctl start systemd-logind;"
                " systemctl disable --quiet lab-activate-boot.service"
            )
            files = {"bin/switch-to-configuration": Path(SWITCH).read_bytes()}
            program = add_to_store(host, "switch-to-configuration-ng", files)
            program = f"{program}/bin/switch-to-configuration"
            made = replace(made, module=f'system.switch.program = "{program}";')
        with nixos_rebuild(host, package()):
            made.change()
            deployment = made.deploy()
            assert deployment.returncode == 0, deployment.why()
            yield made


def test_a_deployment_and_its_no_op(real: RealHost) -> None:
    """The new system runs, boots and greets; a second run has nothing to do."""
    greeting = real.change()
    deployment = real.deploy()
    assert deployment.returncode == 0, deployment.why()
    system = deployment.hosts[NAME]["current"]
    state = real.state
    assert (state.running, state.boot_default, state.greeting) == (system, system, greeting)
    assert not state.rollback_armed
    assert real.deploy().outcomes() == {NAME: "unchanged"}


def test_a_failed_smoke_test_goes_back(real: RealHost) -> None:
    """The old system runs and boots again, and its llama-cli answers."""
    before = real.state
    real.change(broken="crash")
    deployment = real.deploy("--again")
    assert deployment.outcomes() == {NAME: "rolled_back"}, deployment.why()
    after = real.state
    assert (after.running, after.boot_default, after.greeting) == (
        before.running,
        before.boot_default,
        before.greeting,
    )


def test_the_next_boot(real: RealHost) -> None:
    """`--goal boot` changes the boot default and nothing that runs."""
    before = real.state
    real.change()
    deployment = real.deploy("--goal", "boot")
    assert deployment.returncode == 0, deployment.why()
    after = real.state
    assert after.running == before.running
    assert after.boot_default not in ("", before.boot_default)
    assert real.deploy().returncode == 0


def test_a_unit_that_fails(real: RealHost) -> None:
    """Exit code 4 rolls the host back and names the unit."""
    before = real.state
    bad = (
        'systemd.services.wrong = { wantedBy = [ "multi-user.target" ];'
        ' serviceConfig.Type = "oneshot"; script = "exit 3"; };'
    )
    real.change(bad)
    deployment = real.deploy()
    assert deployment.outcomes() == {NAME: "rolled_back"}, deployment.why()
    assert "wrong.service" in deployment.failure(NAME)
    assert real.state.running == before.running


def test_a_unit_that_had_failed_before(real: RealHost) -> None:
    """One that the new system leaves as it is doesn't take the host back."""
    flaky = (
        'systemd.services.flaky = { wantedBy = [ "multi-user.target" ];'
        ' serviceConfig.Type = "oneshot"; script = "test -e /run/flaky-ok"; };'
    )
    real.host.shell("touch /run/flaky-ok")
    real.change(flaky)
    assert real.deploy().returncode == 0
    real.host.shell("rm /run/flaky-ok; systemctl restart flaky.service || true")
    real.change(flaky)
    deployment = real.deploy()
    assert deployment.outcomes() == {NAME: "deployed"}, deployment.why()
    real.change()
    assert real.deploy().returncode == 0


def test_a_check_before_the_switch_that_fails(real: RealHost) -> None:
    """A system whose own check fails is not switched to; going back never asks one."""
    real.change('system.preSwitchChecks.network = "[ ! -e /run/network-is-gone ]";')
    assert real.deploy().returncode == 0
    before = real.state
    real.change(broken="crash")
    real.host.shell("touch /run/network-is-gone")
    try:
        assert real.deploy("--again").outcomes() == {NAME: "rolled_back"}
        assert real.state.running == before.running
        real.change('system.preSwitchChecks.network = "[ ! -e /run/network-is-gone ]";')
        deployment = real.deploy()
    finally:
        real.host.shell("rm /run/network-is-gone")
    assert deployment.returncode == 3, deployment.why()
    assert "pre-switch check network failed" in deployment.hosts[NAME]["message"]
    assert real.state.running == before.running


def test_a_lock_that_is_held(real: RealHost) -> None:
    """What another program activates is left alone, and its holder named."""
    before = real.state
    real.change()
    real.host.shell(f"systemd-run --quiet --unit=somebody flock {LOCK} sleep 600; sleep 0.5")
    try:
        deployment = real.deploy()
    finally:
        real.host.shell("systemctl stop somebody.service")
    assert deployment.hosts[NAME]["verdict"] == "untouched", deployment.why()
    assert f"holds {LOCK}" in deployment.hosts[NAME]["message"]
    assert real.state.running == before.running
