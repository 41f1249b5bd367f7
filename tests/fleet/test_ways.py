"""Other ways to the same end: no Nix here, a shared broker, nixos-rebuild on the host."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.engine.conftest import wait_until
from tests.fleet.cluster import cluster
from tests.fleet.fleet import TARGETS, Fleet, state_of
from tests.fleet.rebuild import ON_PATH, nixos_rebuild
from tests.lab.fleet_flake import copy_standin, write_fleet_flake

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

# What nixos-rebuild-ng does for `--store-path` on the machine itself (its services.py and
# nix.py of nixpkgs 2026-07): without --no-reexec it builds itself first, out of channels
# that a machine of a flake hasn't; switch-to-configuration runs in a unit of its own.
NIXOS_REBUILD = """\
#!/bin/sh
set -eu
if [ "$1" = --help ]; then
  echo "usage: nixos-rebuild [--no-reexec] [--store-path PATH] {switch,boot,test,dry-activate}"
  exit
fi
action=$1 system='' reexec=yes
shift
while [ $# -gt 0 ]; do
  case $1 in
    --no-reexec) reexec=no ;;
    --store-path) system=$2; shift ;;
    *) echo "error: unrecognized arguments: $1" >&2; exit 2 ;;
  esac
  shift
done
if [ "$reexec" = yes ]; then
  echo "error: file 'nixpkgs/nixos' was not found in the Nix search path" >&2
  exit 1
fi
echo "$action $system" >>/var/lib/nixos-rebuild-was-here
case $action in
  switch | boot) nix-env -p /nix/var/nix/profiles/system --set "$system" ;;
esac
exec systemd-run -E LOCALE_ARCHIVE -E NIXOS_INSTALL_BOOTLOADER -E NIXOS_NO_CHECK --collect \
  --no-ask-password --pipe --quiet --service-type=exec \
  --unit=nixos-rebuild-switch-to-configuration "$system/bin/switch-to-configuration" "$action"
"""

TRACES = "/var/lib/nixos-rebuild-was-here"


def test_controller_without_nix_deploys(fleet: Fleet, tmp_path: Path) -> None:
    """Where the controller has no Nix a builder evaluates, and all goes as always."""
    flake = tmp_path / "machines"
    copy_standin(flake / "nixpkgs")
    write_fleet_flake(flake, greeting="hello without Nix", nixpkgs=Path("./nixpkgs"))
    bare = fleet.with_vars(
        {"orchestrate_flake": str(flake)}, controller=fleet.lab.controller(nix=False)
    )
    assert bare.controller.run(["sh", "-c", "command -v nix"], check=False).returncode != 0
    deployment = bare.deploy_json()
    assert deployment.returncode == 0, deployment.why()
    assert deployment.outcomes() == dict.fromkeys(TARGETS, "deployed")
    assert {state.greeting for state in fleet.states().values()} == {"hello without Nix"}


def test_the_package_of_nixpkgs_is_deployed(fleet: Fleet) -> None:
    """A host pinned to rpc gets it from its own nixpkgs, and its smoke passes."""
    other = fleet.with_vars(
        {"orchestrate_llama_source": "nixpkgs"}, {"carbon": {"orchestrate_llama_variant": "rpc"}}
    )
    fleet.change()
    deployment = other.deploy_json("carbon")
    assert deployment.returncode == 0, deployment.why()
    assert deployment.hosts["carbon"]["variant"] == "rpc"
    program = fleet["carbon"].shell("readlink -f /run/current-system/sw/bin/llama-cli")
    assert "-llama-cpp-9842/" in program


def test_shared_broker_and_its_worker(fleet: Fleet, tmp_path: Path) -> None:
    """With a broker of its own and a worker on it, a deployment starts neither."""
    greeting = fleet.change()
    # The private server of the command before may still write its data.
    wait_until(lambda: not any("valkey" in line for line in fleet.processes()))
    with cluster(fleet, tmp_path) as shared:
        process = shared.start("deploy", "carbon", "--json")
        seen: set[str] = set()
        workers: set[bytes] = set()
        registry = redis.Redis(unix_socket_path=str(tmp_path / "valkey"))
        while process.poll() is None:
            seen.update(fleet.processes())
            shown: Any = registry.zrange("orchestrate:workers", 0, -1)
            workers.update(shown)
            time.sleep(0.05)
        output, said = process.communicate()
    assert process.returncode == 0, f"{output}{said}"
    assert state_of(fleet["carbon"]).greeting == greeting
    assert len([line for line in seen if "valkey" in line]) == 1
    assert len(workers) == 1


def test_nixos_rebuild_activates_where_it_takes_a_store_path(fleet: Fleet) -> None:
    """A host is tested and switched by its nixos-rebuild, if the new system has none as well."""
    host = fleet["nitrogen"]
    gone = f'{{ system.activationScripts.gone = "rm -f {ON_PATH}"; }}'
    greeting = fleet.change(extra={"nitrogen": gone})
    with nixos_rebuild(host, {"bin/nixos-rebuild": NIXOS_REBUILD.encode()}):
        deployment = fleet.deploy_json("nitrogen")
        traces = host.shell(f"cat {TRACES}; rm {TRACES}; ! [ -e {ON_PATH} ]")
    assert deployment.returncode == 0, deployment.why()
    system = deployment.hosts["nitrogen"]["current"]
    assert traces.splitlines() == [f"test {system}", f"switch {system}"]
    state = state_of(host)
    assert (state.running, state.boot_default, state.greeting) == (system, system, greeting)


def test_sudo_asks_for_a_password(fleet: Fleet, tmp_path: Path) -> None:
    """A deploying user whose sudo asks gets through by the file that holds the password."""
    greeting = fleet.change()
    secret = tmp_path / "sudo-password"
    secret.write_text("open 'sesame' $HOME\n")
    asked = fleet.with_vars(
        host_vars={"beryllium": {"orchestrate_become_password_file": str(secret)}}
    )
    fleet["beryllium"].ask_sudo_password(secret.read_text().rstrip("\n"))
    try:
        refused = fleet.deploy_json("beryllium")
        assert refused.outcomes() == {"beryllium": "failed"}
        assert "orchestrate_become_password_file" in json.dumps(refused.events)
        deployment = asked.deploy_json("beryllium")
    finally:
        fleet["beryllium"].ask_sudo_password(None)
    assert deployment.outcomes() == {"beryllium": "deployed"}, deployment.why()
    assert state_of(fleet["beryllium"]).greeting == greeting
    log = fleet.controller.run(["sh", "-c", 'cat "$HOME"/.local/state/orchestrate/*/*/*log*'])
    assert "sesame" not in log.stdout + json.dumps(deployment.events)


def test_a_sudo_that_refuses_is_found_before_a_switch(fleet: Fleet) -> None:
    """Also where nothing has to be copied: the host is left as it is, and needs no hands."""
    host = fleet["beryllium"]
    before = state_of(host)
    fleet.change()
    assert fleet.deploy_json("beryllium").returncode == 0
    deployed = state_of(host)
    rule = host.shell("cat /etc/sudoers.d/*").strip()
    host.shell("for file in /etc/sudoers.d/*; do : >$file; done")
    try:
        refused = fleet.events_of("rollback", "beryllium")
        found = fleet.orchestrate("doctor", check=False).stdout
    finally:
        host.exec("sh", "-c", "cat >/etc/sudoers.d/lab", stdin=f"{rule}\n")
    assert refused.returncode == 3, refused.why()
    assert "its login can't become root" in refused.hosts["beryllium"]["message"]
    assert refused.hosts["beryllium"]["failure"]["last_lines"]
    assert "FAIL  beryllium privilege: " in found
    assert state_of(host).running == deployed.running != before.running
    back = fleet.events_of("rollback", "beryllium")
    assert back.outcomes() == {"beryllium": "rolled_back"}, back.why()


@contextmanager
def _asking(fleet: Fleet) -> Iterator[str]:
    """Have a sudo on beryllium that asks; give the password."""
    password = "open 'sesame' $HOME"  # noqa: S105 - the lab's own
    fleet["beryllium"].ask_sudo_password(password)
    try:
        yield password
    finally:
        fleet["beryllium"].ask_sudo_password(None)


def test_a_command_gives_the_sudo_password(fleet: Fleet, tmp_path: Path) -> None:
    """The first line that the inventory's command prints is the password, where it is needed."""
    greeting = fleet.change()
    secret = tmp_path / "store"
    prints = ["sh", "-c", 'cat "$1" && echo url: none', "pass", str(secret)]
    told = fleet.with_vars(host_vars={"beryllium": {"orchestrate_become_password_command": prints}})
    with _asking(fleet) as password:
        refused = told.deploy_json("beryllium")
        secret.write_text("another one\n")
        wrong = told.deploy_json("beryllium")
        secret.write_text(f"{password}\n")
        deployment = told.deploy_json("beryllium")
    assert refused.outcomes() == {"beryllium": "failed"}
    assert "the password command sh" in refused.failure("beryllium")
    assert wrong.outcomes() == {"beryllium": "failed"}
    assert "the password for sudo there is another one" in json.dumps(wrong.events)
    assert deployment.outcomes() == {"beryllium": "deployed"}, deployment.why()
    assert state_of(fleet["beryllium"]).greeting == greeting


def test_a_typed_password_stays_in_the_command(fleet: Fleet) -> None:
    """With -K the password is in no argument, environment, log, event, nor in the broker's data."""
    greeting = fleet.change()
    seen: set[str] = set()
    with _asking(fleet) as password:
        process = fleet.controller.popen(
            fleet.argv("deploy", "beryllium", "--json", "-K"),
            env=fleet.env,
            cwd=fleet.directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(f"{password}\n")
        process.stdin.flush()
        while process.poll() is None:
            seen |= _known_of_processes(fleet)
            time.sleep(0.1)
        output, said = process.communicate()
    assert process.returncode == 0, f"{output}{said}"
    assert state_of(fleet["beryllium"]).greeting == greeting
    assert any("orchestrator" in line for line in seen)
    kept = fleet.controller.run(["sh", "-c", 'cat "$HOME"/.local/state/orchestrate/*/*/* || true'])
    everything = "".join(seen) + output + said + kept.stdout
    assert "sesame" not in everything


def test_a_typed_password_is_for_the_smoke_by_hand_too(fleet: Fleet) -> None:
    """With -K `smoke` brings a model where sudo asks, whatever broker there is."""
    fleet["beryllium"].shell("rm -rf /var/lib/orchestrate/models")
    with _asking(fleet) as password:
        refused = fleet.orchestrate("smoke", "beryllium", check=False)
        answered = fleet.controller.run(
            fleet.argv("smoke", "beryllium", "-K"),
            env=fleet.env,
            cwd=fleet.directory,
            stdin=f"{password}\n",
        )
    assert refused.returncode == 3
    assert "--ask-become-pass" in refused.stdout + refused.stderr
    assert "tokens/s" in answered.stdout


def _known_of_processes(fleet: Fleet) -> set[str]:
    """Return the arguments and environments of all processes on the controller."""
    group = fleet.lab.site.cgroup / "controller" / "cgroup.procs"
    found = set()
    for pid in group.read_text().split():
        for name in ("cmdline", "environ"):
            try:
                found.add(Path("/proc", pid, name).read_text(errors="replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def test_a_typed_password_cannot_reach_a_cluster(fleet: Fleet) -> None:
    """With a broker of one's own -K is refused before anything, and the other ways are named."""
    done = fleet.orchestrate(
        "deploy", "beryllium", "-K", "--broker", "redis://127.0.0.1:1/0", check=False
    )
    assert done.returncode == 2
    assert "can't reach the workers of a cluster" in done.stderr
    assert "orchestrate_become_password_command" in done.stderr
