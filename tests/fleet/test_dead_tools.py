"""A new system whose own programs don't run here, as with a wrong hostPlatform.gcc.arch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import kill, read_until, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fleet.fleet import Fleet
    from tests.lab import Host

pytestmark = pytest.mark.lab

NAME = "carbon"
CONFIRM_SECONDS = 8
GOING_BACK_SECONDS = 30

PROGRAMS = (
    "sh env flock timeout readlink realpath cat stat date sed grep head tail mktemp rm sleep "
    "ln mkdir touch"
)
"""What our scripts call, and what a system has in its sw/bin."""

LIVE = f"""
  {{ pkgs, ... }}: {{
    environment.systemPackages = [ (pkgs.runCommand "live-tools" {{ }} ''
      mkdir -p $out/bin
      for name in {PROGRAMS}; do ln -s /usr/bin/$name $out/bin/$name; done
    '') ];
  }}
"""

# Each dies as a program does that is compiled for another processor.
DEAD = f"""
  {{ pkgs, ... }}: {{
    environment.systemPackages = [ (pkgs.runCommand "dead-tools" {{ }} ''
      mkdir -p $out/bin
      for name in {PROGRAMS}; do
        printf '%s\\n' '#!/bin/sh' 'kill -ILL $$' >$out/bin/$name
        chmod +x $out/bin/$name
      done
    '') ];
  }}
"""

# What a session has on NixOS; Debian's behind it.
NIXOS_PATH = (
    "/run/wrappers/bin:/root/.nix-profile/bin:/etc/profiles/per-user/root/bin:"
    "/nix/var/nix/profiles/default/bin:/run/current-system/sw/bin:"
    "/usr/sbin:/usr/bin:/sbin:/bin"
)
SSHD = "/etc/ssh/sshd_config.d/10-nixos-path.conf"


@pytest.fixture
def host(fleet: Fleet) -> Iterator[Host]:
    """Yield a host with NixOS's PATH, whose running system has the programs itself."""
    fleet[NAME].shell(f"echo 'SetEnv PATH={NIXOS_PATH}' >{SSHD}; systemctl restart ssh")
    fleet.change(extra={NAME: LIVE})
    assert fleet.deploy_json(NAME, "--again").outcomes()[NAME] == "deployed"
    yield fleet[NAME]
    fleet[NAME].shell(f"rm -f {SSHD}; systemctl restart ssh")
    fleet.change()
    assert fleet.deploy_json(NAME, "--again").outcomes()[NAME] in ("deployed", "unchanged")


def test_the_rollback_needs_no_program_of_the_new_system(fleet: Fleet, host: Host) -> None:
    """The smoke test says what is wrong, blames no package, and the old system comes back."""
    before = state_of(host)
    fleet.change(extra={NAME: DEAD})
    deployment = fleet.deploy_json(NAME, "--again")
    result = deployment.hosts[NAME]
    assert (result["outcome"], result["verdict"]) == ("rolled_back", "rolled back"), (
        deployment.why()
    )
    assert "the system's own programs don't run there" in result["message"]
    assert not deployment.find(event="quarantined")
    after = state_of(host)
    assert (after.running, after.boot_default) == (before.running, before.boot_default)
    assert not after.rollback_armed


def test_the_timer_needs_no_program_of_the_new_system(fleet: Fleet, host: Host) -> None:
    """With its controller dead, the host leaves the new system by itself."""
    before = state_of(host)
    fleet.change(extra={NAME: DEAD})
    hasty = fleet.with_vars({"orchestrate_confirm_timeout": CONFIRM_SECONDS})
    process = hasty.start("deploy", NAME, "--json", "--again")
    read_until(process, stage="switch", event="stage_finished")
    kill(process)
    assert state_of(host).running != before.running
    deadline = time.monotonic() + CONFIRM_SECONDS + GOING_BACK_SECONDS
    while state_of(host).running != before.running:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    resumed = fleet.events_of("resume")
    assert resumed.hosts[NAME]["verdict"] == "rolled back", resumed.why()
