"""The six ways in which deploy-rs's "magic rollback" fails, and ours must not.

PEERS.md, "How deploy-rs's magic rollback fails", counts them; the host itself is asked each time.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import kill, read_until, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fleet.fleet import Deployment, Fleet
    from tests.lab import Host

pytestmark = pytest.mark.lab

CONFIRM_SECONDS = 10

NAME = "carbon"

# New logins are refused, and those that are open go on: ssh to it "works".
NO_NEW_LOGINS = """
  {
    systemd.services.no-new-logins = {
      description = "Lets nobody in for as long as it is there";
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
      };
      script = "/usr/bin/systemctl stop ssh.service";
      preStop = "/usr/bin/systemctl start --no-block ssh.service";
    };
  }
"""


# As an activation that restarts the network or sshd under its own session.
SSHD_SESSIONS_DIE = """
  {
    system.activationScripts.sessions = ''
      /usr/bin/systemctl kill --signal=KILL ssh.service
      /usr/bin/systemctl restart ssh.service
    '';
  }
"""


@pytest.fixture
def host(fleet: Fleet) -> Iterator[Host]:
    """Yield a host that runs and boots a deployed system, and leave it so."""
    fleet.change()
    assert fleet.deploy_json(NAME).outcomes()[NAME] == "deployed"
    yield fleet[NAME]
    fleet.change()
    assert fleet.deploy_json(NAME).outcomes()[NAME] == "deployed"


def test_back_to_what_ran_and_not_to_the_next_lower_generation(fleet: Fleet, host: Host) -> None:
    """Case 1: a host that runs an older generation than it boots goes back to just that."""
    older = state_of(host).running
    fleet.change()
    assert fleet.deploy_json(NAME).outcomes()[NAME] == "deployed"
    newest = state_of(host).running
    host.exec(f"{older}/bin/switch-to-configuration", "test")
    fleet.change(broken={NAME: "crash"})
    deployment = fleet.deploy_json(NAME, "--again")
    assert_rolled_back(deployment)
    after = state_of(host)
    assert after.running == older
    # The boot default stays the one that was there before.
    assert after.boot_default == newest
    assert not after.rollback_armed


def test_a_closure_without_a_new_generation_loses_none(fleet: Fleet, host: Host) -> None:
    """Case 2: a failed confirmation of the profile's own system goes back, and deletes nothing."""
    older = state_of(host).running
    fleet.change()
    assert fleet.deploy_json(NAME).outcomes()[NAME] == "deployed"
    newest = state_of(host).running
    host.exec(f"{older}/bin/switch-to-configuration", "test")
    before = generations(host)
    with read_only_boot(host):
        deployment = fleet.deploy_json(NAME)
    assert_rolled_back(deployment)
    assert deployment.find(stage="confirm", event="stage_failed")
    after = state_of(host)
    assert (after.running, after.boot_default) == (older, newest)
    assert generations(host) == before


def test_a_power_cut_before_the_confirmation_boots_the_old_system(fleet: Fleet, host: Host) -> None:
    """Case 3: whatever was only tested is gone when the power comes back."""
    before = state_of(host)
    greeting = fleet.change()
    process = fleet.start("deploy", NAME, "--json")
    read_until(process, stage="switch", event="stage_finished")
    kill(process)
    assert state_of(host).greeting == greeting
    host.power_cut()
    host.boot()
    after = state_of(host)
    assert after.boot_id != before.boot_id
    assert (after.running, after.boot_default) == (before.running, before.running)
    assert after.greeting == before.greeting
    # The dead run holds the host until it is brought to an end.
    assert_rolled_back(fleet.events_of("resume"))


def test_the_first_deployment_can_fail(fleet: Fleet, host: Host) -> None:
    """Case 4: a system that knows nothing of us is gone back to; nothing is installed before."""
    before = state_of(host)
    forget_us(host)
    named = host.shell(f"grep -rlis orchestrate {before.running}/ || true")
    assert not named, "the old system has a part of ours"
    fleet.change(broken={NAME: "garbage"})
    assert_rolled_back(fleet.deploy_json(NAME, "--again"))
    after = state_of(host)
    assert (after.running, after.boot_default) == (before.running, before.boot_default)
    assert after.greeting == before.greeting


def test_a_host_without_any_system_needs_hands(fleet: Fleet, host: Host) -> None:
    """Case 4: without a NixOS system before there is nothing to go back to; the verdict says it."""
    forget_us(host)
    host.shell("rm -rf /nix/var/nix/profiles/system* /boot/loader/default")
    host.reboot()
    assert state_of(host).running == ""
    fleet.change(broken={NAME: "crash"})
    deployment = fleet.deploy_json(NAME, "--again")
    assert deployment.returncode == 4
    result = deployment.hosts[NAME]
    assert (result["outcome"], result["verdict"]) == ("failed", "needs manual repair"), (
        deployment.why()
    )
    assert "no NixOS system before" in result["message"]
    assert state_of(host).boot_default == ""


def test_an_activation_outlives_the_session_that_began_it(fleet: Fleet, host: Host) -> None:
    """Case 5: an activation that kills every ssh session goes on in its unit, and is waited for."""
    greeting = fleet.change(extra={NAME: SSHD_SESSIONS_DIE})
    deployment = fleet.deploy_json(NAME)
    assert deployment.outcomes()[NAME] == "deployed", deployment.why()
    after = state_of(host)
    assert (after.greeting, after.boot_default) == (greeting, after.running)
    assert not after.rollback_armed


def test_a_hanging_activation_is_left_by_the_host_itself(fleet: Fleet, host: Host) -> None:
    """Case 5: with the controller dead, an activation that never ends is stopped and undone."""
    before = state_of(host)
    hasty = fleet.with_vars({"orchestrate_confirm_timeout": CONFIRM_SECONDS})
    fleet.change(hanging=(NAME,))
    process = hasty.start("deploy", NAME, "--json")
    read_until(process, stage="switch", event="stage_started")
    wait_until(lambda: "waiting for nothing" in activation_log(host))
    kill(process)
    wait_until(lambda: not is_active(host, "orchestrate-activate.service"))
    wait_until(lambda: not is_active(host, "orchestrate-rollback.service"))
    after = state_of(host)
    assert (after.running, after.boot_default) == (before.running, before.boot_default)
    assert (after.greeting, after.rollback_armed) == (before.greeting, False)
    assert_rolled_back(fleet.events_of("resume"))


def test_a_hanging_activation_is_reported(fleet: Fleet, host: Host) -> None:
    """Case 5: the run says that the activation did not end, what it said last, and goes back."""
    before = state_of(host)
    hasty = fleet.with_vars({"orchestrate_confirm_timeout": CONFIRM_SECONDS})
    fleet.change(hanging=(NAME,))
    deployment = hasty.deploy_json(NAME)
    assert_rolled_back(deployment)
    assert "did not end within 10 seconds" in deployment.hosts[NAME]["message"]
    (failed,) = deployment.find(stage="switch", event="stage_failed")
    assert "waiting for nothing" in failed["last_lines"]
    assert not is_active(host, "orchestrate-activate.service")
    after = state_of(host)
    assert (after.running, after.boot_default) == (before.running, before.boot_default)
    assert (after.greeting, after.rollback_armed) == (before.greeting, False)


def test_working_ssh_confirms_nothing(fleet: Fleet, host: Host) -> None:
    """Case 6: a host that answers by ssh and can't infer is put back."""
    before = state_of(host)
    fleet.change(broken={NAME: "garbage"})
    deployment = fleet.deploy_json(NAME, "--again")
    assert_rolled_back(deployment)
    assert not deployment.find(stage="confirm")
    assert state_of(host).running == before.running


def test_an_open_session_confirms_nothing(fleet: Fleet, host: Host) -> None:
    """Case 6: a system that infers well over an old connection, and takes no new one, is left."""
    before = state_of(host)
    fleet.change(extra={NAME: NO_NEW_LOGINS})
    hasty = fleet.with_vars({"orchestrate_confirm_timeout": CONFIRM_SECONDS})
    started = time.monotonic()
    deployment = hasty.deploy_json(NAME)
    assert_rolled_back(deployment)
    assert deployment.find(stage="confirm", event="stage_failed")
    assert time.monotonic() - started > CONFIRM_SECONDS
    after = state_of(host)
    assert (after.running, after.boot_default) == (before.running, before.boot_default)


def assert_rolled_back(deployment: Deployment) -> None:
    """Check that the run says of the host that it is as it was."""
    result = deployment.hosts[NAME]
    ended = (deployment.returncode, result["outcome"], result["verdict"])
    assert ended == (3, "rolled_back", "rolled back"), deployment.why()


def is_active(host: Host, unit: str) -> bool:
    """Ask whether a unit runs, a oneshot too."""
    return host.shell(f"systemctl show --property=ActiveState --value {unit}").strip() not in (
        "inactive",
        "failed",
    )


def activation_log(host: Host) -> str:
    """Return what the activation printed."""
    return host.shell("cat /run/orchestrate/activation.log 2>/dev/null || true")


def wait_until(done: Callable[[], bool]) -> None:
    """Wait until something is so on a host."""
    deadline = time.monotonic() + CONFIRM_SECONDS + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def generations(host: Host) -> str:
    """Return the profile's generations and what each is."""
    return host.shell("cd /nix/var/nix/profiles; for link in system-*; do readlink -f $link; done")


@contextmanager
def read_only_boot(host: Host) -> Iterator[None]:
    """Have a boot loader that can't be written, so that no system can be confirmed."""
    host.shell("mount --bind /boot/loader /boot/loader; mount -o remount,bind,ro /boot/loader")
    try:
        yield
    finally:
        host.shell("umount /boot/loader")


def forget_us(host: Host) -> None:
    """Remove all that earlier deployments left there besides the system itself."""
    host.shell("rm -rf /var/lib/orchestrate /run/orchestrate /nix/var/nix/gcroots/orchestrate")
