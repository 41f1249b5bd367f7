"""The fleet in a box keeps its promises: what is tested on it can be believed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.lab import HostSpec, Lab, LabError, cache, images, registry, running_lab
from tests.lab import fleet as fleet_of
from tests.lab.cgroups import cgroup_of
from tests.lab.processes import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

lab_test = pytest.mark.lab
TARGETS = ("carbon", "beryllium", "boron", "nitrogen")
BUILDERS = ("forge", "anvil")


# Without a lab


def test_mirror_is_read_from_either_format_of_apt(tmp_path: Path) -> None:
    """The mirror is the machine's own, and the public one where it has none."""
    assert images.mirror(tmp_path) == images.DEFAULT_MIRROR
    (tmp_path / "sources.list").write_text(
        "# deb http://old.example/debian trixie main\n"
        "deb http://security.example/debian-security trixie-security main\n"
        "deb [arch=amd64 signed-by=/k] http://line.example/debian/ trixie main\n"
    )
    assert images.mirror(tmp_path) == "http://line.example/debian"
    (tmp_path / "sources.list").unlink()
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/a.sources").write_text(
        "Types: deb\nURIs: http://deb822.example/debian\nSuites: trixie\n"
    )
    assert images.mirror(tmp_path) == "http://deb822.example/debian"


def test_interrupted_artefact_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an image never passes for a whole one."""
    monkeypatch.setenv("ORCHESTRATE_CACHE", str(tmp_path))

    def interrupted(path: Path) -> None:
        path.mkdir()
        (path / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.cached("image", interrupted)
    assert list(cache.cached("image", Path.mkdir).iterdir()) == []


def test_last_lab_puts_the_machine_setting_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The raised sysctl stays while any lab runs and is put back by the last."""
    setting = tmp_path / "setting"
    setting.write_text("128\n")
    monkeypatch.setattr(registry, "_RUN", tmp_path / "run")
    monkeypatch.setattr(registry, "_INOTIFY", setting)
    registry.enter(registry.Entry("one", "/nowhere", 1))
    registry.enter(registry.Entry("two", "/nowhere", 1))
    registry.leave("one")
    assert setting.read_text() == "8192"
    registry.leave("two")
    assert setting.read_text() == "128"
    assert not (tmp_path / "run").exists()


@lab_test
def test_jump_host_must_be_in_the_lab() -> None:
    """A fleet that can't be wired is refused before anything is started."""
    with pytest.raises(LabError, match="jump host"), running_lab([HostSpec("a", jump="b")]):
        pass


# Hosts


@lab_test
@pytest.mark.parametrize("name", [*TARGETS, *BUILDERS])
def test_host_answers_ssh_as_a_running_system(fleet: Lab, name: str) -> None:
    """Each host is a booted systemd, by its name, as the user who deploys."""
    host = fleet[name]
    said = host.ssh("sh", "-c", "hostname; id -un; systemctl is-system-running --wait").stdout
    assert said.split() == [name, host.spec.user, "running"]
    assert host.shell("systemctl --failed --no-legend") == ""


@lab_test
def test_fleet_has_two_versions_of_nix(fleet: Lab) -> None:
    """The fleet holds an old and a new Nix, each with a daemon that answers."""
    for name, version in (("carbon", "2.26"), ("nitrogen", "2.34")):
        told = fleet[name].ssh("nix", "store", "info", "--store", "daemon")
        # 2.26 tells it on the one, 2.34 on the other.
        assert f"Version: {version}" in told.stdout + told.stderr


@lab_test
def test_deploying_user_becomes_root_by_sudo_only(fleet: Lab) -> None:
    """Where another user deploys, sudo works and root is refused."""
    beryllium = fleet["beryllium"]
    assert beryllium.ssh("sudo", "-n", "id", "-un").stdout == "root\n"
    refused = fleet.controller().run(
        ["ssh", "-F", fleet.ssh_config, f"root@{beryllium.address}", "true"], check=False
    )
    assert refused.returncode == 255


@lab_test
def test_sudo_asks_for_a_password_when_told_to(fleet: Lab) -> None:
    """With a password set, sudo takes that one and nothing else."""
    beryllium = fleet["beryllium"]
    ask = ("sudo", "-S", "-p", "", "id", "-un")
    beryllium.ask_sudo_password("right")
    try:
        assert beryllium.ssh(*ask, stdin="right\n").stdout == "root\n"
        assert "incorrect" in beryllium.ssh(*ask, stdin="wrong\n", check=False).stderr
    finally:
        beryllium.ask_sudo_password(None)
    assert beryllium.ssh("sudo", "-n", "true").returncode == 0


@lab_test
def test_host_behind_a_jump_host_has_no_other_way(fleet: Lab) -> None:
    """Only ProxyJump leads to boron: neither a direct connection nor a route does."""
    assert fleet["boron"].ssh("hostname").stdout == "boron\n"
    config = str(fleet.ssh_config)
    straight = ["ssh", "-F", config, "-o", "ProxyJump=none", "-o", "ConnectTimeout=1", "boron"]
    assert fleet.controller().run(straight, check=False).returncode == 255
    # Even with a route through carbon: it forwards nothing.
    route = ["ip", "route", "add", "10.78.0.0/16", "via", fleet["carbon"].address]
    fleet.controller().run(route)
    try:
        assert fleet.controller().run(straight, check=False).returncode == 255
    finally:
        fleet.controller().run(["ip", "route", "delete", "10.78.0.0/16"])


@lab_test
def test_builder_builds_what_its_features_allow(fleet: Lab) -> None:
    """A builder's own nix.conf has its features, and its compiler works in a build."""
    expression = """derivation {
      name = "hello"; system = "x86_64-linux"; builder = "/bin/sh"; PATH = "/usr/bin:/bin";
      requiredSystemFeatures = [ "FEATURE" ];
      args = [ "-ec" "echo 'int main(){return 0;}' >a.c; gcc a.c -o $out" ]; }"""
    build = ("nix-build", "--no-out-link", "-E")
    assert fleet["anvil"].ssh(*build, expression.replace("FEATURE", "rocm")).stdout
    refused = fleet["anvil"].ssh(*build, expression.replace("FEATURE", "cuda"), check=False)
    assert "Required features: {cuda}" in refused.stderr


@lab_test
def test_host_cannot_change_the_machine(fleet: Lab) -> None:
    """Root on a host reads the kernel's settings but sets only its own network's."""
    carbon = fleet["carbon"]
    carbon.shell("echo 1 >/proc/sys/net/ipv4/conf/eth0/log_martians")
    assert (
        "Read-only" in carbon.ssh("sh", "-c", "echo 1 >/proc/sys/kernel/panic", check=False).stderr
    )
    # The present time, so that a failure of this test changes nothing.
    for run in (carbon.ssh, carbon.exec):
        refused = run("sh", "-c", "date -s @$(date +%s)", check=False)
        assert "Operation not permitted" in refused.stderr


@lab_test
def test_inventory_says_how_to_reach_each_host(fleet: Lab, tmp_path: Path) -> None:
    """The inventory has the fleet's groups, the users, the jump host and the builders."""
    path = fleet.write_inventory(
        tmp_path / "fleet.yml", {"colour": "red"}, {"carbon": {"colour": "blue"}}
    )
    everything = yaml.safe_load(path.read_text())["all"]
    assert tuple(everything["children"]["targets"]["hosts"]) == TARGETS
    assert tuple(everything["children"]["builders"]["hosts"]) == BUILDERS
    assert everything["vars"]["colour"] == "red"
    assert everything["hosts"]["carbon"]["colour"] == "blue"
    assert everything["hosts"]["beryllium"]["ansible_become"] is True
    assert everything["hosts"]["boron"]["orchestrate_jump"] == "carbon"
    assert "rocm" in everything["hosts"]["anvil"]["orchestrate_builder"]["features"]


# The controller


@lab_test
def test_controller_has_a_nix_or_surely_none(fleet: Lab, tmp_path: Path) -> None:
    """The bundled Nix evaluates and copies; without it there is none on PATH."""
    controller = fleet.controller(home=tmp_path)
    assert controller.run(["nix", "eval", "--expr", "1 + 1"]).stdout == "2\n"
    (tmp_path / "file").write_text("content")
    path = controller.run(["nix", "store", "add", tmp_path / "file"]).stdout.strip()
    environment = {"NIX_SSHOPTS": f"-F {fleet.ssh_config}"}
    copy = ["nix", "copy", "--no-check-sigs", "--to", "ssh-ng://boron", path]
    controller.run(copy, env=environment)
    assert fleet["boron"].ssh("cat", path).stdout == "content"
    bare = fleet.controller(nix=False)
    assert bare.run(["sh", "-c", "command -v nix"], check=False).stdout == ""
    assert bare.run(["ssh", "-F", fleet.ssh_config, "carbon", "hostname"]).stdout == "carbon\n"


# Faults


@lab_test
def test_cut_network_is_silent_until_restored(fleet: Lab) -> None:
    """A cut host times out, does not refuse, and answers at once when restored."""
    carbon = fleet["carbon"]
    carbon.cut()
    try:
        said = fleet.controller().run(
            ["ssh", "-F", fleet.ssh_config, "-o", "ConnectTimeout=1", "carbon", "true"],
            check=False,
        )
        assert "timed out" in said.stderr
        # What runs on it does not notice.
        assert "LOWER_UP" in carbon.shell("ip link show eth0")
    finally:
        carbon.restore()
    assert carbon.ssh("true").returncode == 0


@lab_test
def test_power_cut_keeps_files_and_ends_everything_else(fleet: Lab) -> None:
    """After a power cut a host stays off; booted again it has its files and its keys."""
    nitrogen = fleet["nitrogen"]
    nitrogen.shell("echo kept >/root/file; echo kept >/nix/file; echo lost >/run/file")
    nitrogen.power_cut()
    assert not nitrogen.is_on
    with pytest.raises(LabError, match="nitrogen is off"):
        nitrogen.exec("true")
    nitrogen.boot()
    assert nitrogen.ssh("cat", "/root/file", "/nix/file").stdout == "kept\nkept\n"
    assert nitrogen.ssh("cat", "/run/file", check=False).returncode != 0


@lab_test
def test_reboot_starts_a_new_boot_with_the_boot_default(fleet: Lab) -> None:
    """A host that reboots itself comes up by itself, in the system the boot loader names."""
    carbon = fleet["carbon"]
    carbon.shell("""
        mkdir -p /root/system/bin
        printf '#!/bin/sh\\necho "$0 $1" >/run/activated\\n' \
          >/root/system/bin/switch-to-configuration
        chmod +x /root/system/bin/switch-to-configuration
        echo /root/system >/boot/loader/default
        ip link set eth0 down""")
    before = carbon.boot_id
    try:
        carbon.reboot()
        assert carbon.boot_id != before
        # The network that it had taken down is back too.
        said = carbon.ssh("readlink", "/run/booted-system", "/run/current-system").stdout
        assert said == "/root/system\n/root/system\n"
        activated = carbon.shell("cat /run/activated")
        assert activated == "/root/system/bin/switch-to-configuration test\n"
    finally:
        carbon.shell("rm -r /root/system /boot/loader/default; rm -f /run/*-system")


@lab_test
def test_power_off_stays_off(fleet: Lab) -> None:
    """The machine tells a power-off from a reboot."""
    beryllium = fleet["beryllium"]
    beryllium.power_off()
    time.sleep(0.3)
    assert not beryllium.is_on
    beryllium.boot()
    assert beryllium.ssh("hostname").stdout == "beryllium\n"


def _seconds(lab: Lab, *options: str) -> float:
    started = time.monotonic()
    lab.controller().run(["ssh", "-F", lab.ssh_config, *options, "true"])
    return time.monotonic() - started


@lab_test
def test_latency_delays_each_round_trip(fleet: Lab) -> None:
    """Through the relay a login takes its several round trips longer."""
    direct = _seconds(fleet, "carbon")
    with fleet["carbon"].latency(100) as endpoint:
        delayed = _seconds(fleet, "-p", str(endpoint.port), f"root@{endpoint.address}")
    assert delayed > direct + 0.4


@lab_test
def test_limit_slows_what_is_sent(fleet: Lab) -> None:
    """A megabyte takes a second at 8 Mbit/s, either way."""
    anvil = fleet["anvil"]
    anvil.limit("8mbit")
    try:
        for argv, stdin in ((("head", "-c", "1000000", "/dev/zero"), ""), (("wc",), "x" * 1000000)):
            started = time.monotonic()
            anvil.ssh(*argv, stdin=stdin)
            assert 0.8 < time.monotonic() - started < 5
    finally:
        anvil.unlimit()
        anvil.unlimit()
    assert "tbf" not in anvil.shell("tc qdisc show dev eth0")


@lab_test
def test_full_store_is_full_for_that_host_alone(fleet: Lab) -> None:
    """A full store refuses to grow, other hosts don't notice, and emptied it goes on."""
    boron = fleet["boron"]
    add = ("sh", "-c", "head -c 100000 /dev/zero >/tmp/big; nix-store --add /tmp/big")
    boron.fill_store()
    try:
        assert "No space left on device" in boron.ssh(*add, check=False).stderr
        assert fleet["carbon"].ssh(*add).stdout.startswith("/nix/store/")
    finally:
        boron.free_store()
    assert boron.ssh(*add).stdout.startswith("/nix/store/")
    boron.fill_store(leave=1 << 20)
    try:
        free = int(boron.shell("df --output=avail -B1 /nix | tail -1"))
        assert (1 << 19) < free < (2 << 20)
    finally:
        boron.free_store()


@lab_test
def test_killed_daemon_drops_what_it_served(fleet: Lab) -> None:
    """Killing sshd breaks its connections; stopped, it refuses new ones until started."""
    forge = fleet["forge"]
    with subprocess.Popen(
        forge.ssh_argv("sh", "-c", "echo here; sleep 60"), stdout=subprocess.PIPE
    ) as session:
        assert session.stdout is not None
        session.stdout.readline()
        forge.kill("sshd")
        assert session.wait(5) == 255
    forge.stop("sshd")
    try:
        assert "refused" in forge.ssh("true", check=False).stderr
    finally:
        forge.start("sshd")
        forge.wait_for_ssh()
    forge.stop("nix-daemon")
    try:
        assert forge.ssh("nix", "store", "info", "--store", "daemon", check=False).returncode == 1
    finally:
        forge.start("nix-daemon")


# The end


def _traces(lab_id: str, directory: Path) -> list[str]:
    """Find what is left of a lab: files, cgroups, processes, mounts, loop devices."""
    found = [str(path) for path in (directory, cgroup_of(lab_id)) if path.exists()]
    found += [str(path) for path in Path("/run/orchestrate-lab").glob(f"{lab_id}*")]
    backings = Path("/sys/block").glob("loop*/loop/backing_file")
    found += [str(path) for path in backings if lab_id in _text(path)]
    for process in Path("/proc").glob("[0-9]*"):
        for kind in ("cmdline", "cgroup", "mountinfo"):
            if lab_id in _text(process / kind) and process.name != str(os.getpid()):
                found.append(f"{process}/{kind}: {_text(process / 'cmdline')}")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _gone(lab_id: str, directory: Path) -> list[str]:
    """Return the traces that are still there after a few seconds."""
    deadline = time.monotonic() + 10
    while (traces := _traces(lab_id, directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return traces


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that starts a lab of two hosts, and keeps it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.lab", "serve", "--hosts", "node-1,node-2"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


@lab_test
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_lab_leaves_nothing(
    serving: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    """However its owner ends, all of a lab ends with it."""
    assert serving.stdout is not None
    lab_id = serving.stdout.readline().strip()
    directory = tmp_path / f"orchestrate-lab-{lab_id}"
    assert len(_traces(lab_id, directory)) > 10
    serving.send_signal(number)
    serving.wait(20)
    assert _gone(lab_id, directory) == []


@lab_test
@pytest.mark.parametrize("seconds", [0, 0.1, 0.3])
def test_lab_killed_while_starting_leaves_nothing(
    serving: subprocess.Popen[str], tmp_path: Path, seconds: float
) -> None:
    """Half a lab is removed as well as a whole one."""
    while not (begun := list(tmp_path.glob("orchestrate-lab-*"))):
        assert serving.poll() is None
        time.sleep(0.01)
    time.sleep(seconds)
    serving.kill()
    serving.wait(20)
    assert _gone(begun[0].name.rpartition("-")[2], begun[0]) == []


@lab_test
def test_abandoned_lab_is_removed_by_the_next(
    serving: subprocess.Popen[str], tmp_path: Path
) -> None:
    """Even when owner and reaper are both killed, the next lab cleans up."""
    assert serving.stdout is not None
    lab_id = serving.stdout.readline().strip()
    (entry,) = [entry for entry in registry.entries() if entry.lab_id == lab_id]
    os.kill(entry.reaper, signal.SIGKILL)
    serving.kill()
    serving.wait(20)
    directory = tmp_path / f"orchestrate-lab-{lab_id}"
    assert _traces(lab_id, directory)
    with running_lab([HostSpec("carbon")]):
        assert _gone(lab_id, directory) == []


@lab_test
def test_lab_ends_what_its_controller_started(fleet: Lab) -> None:
    """A process of the controller does not outlive its lab; another lab is untouched."""
    with running_lab([HostSpec("carbon")]) as other:
        assert other["carbon"].boot_id != fleet["carbon"].boot_id
        forgotten = other.controller().popen(
            ["sh", "-c", "echo here; exec sleep 600"],
            start_new_session=True,
            stdout=subprocess.PIPE,
        )
        assert forgotten.stdout is not None
        assert forgotten.stdout.readline() == b"here\n"
    forgotten.communicate()
    assert forgotten.returncode == -signal.SIGKILL
    assert fleet["carbon"].ssh("true").returncode == 0


@lab_test
def test_command_line_runs_a_lab_in_the_background() -> None:
    """`up` returns with a lab that stays, `ssh` reaches it, `down` ends it."""

    def command(*argv: str) -> str:
        whole = [sys.executable, "-m", "tests.lab", *argv]
        return subprocess.run(
            whole, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    started = command("up", "--hosts", "node-1")
    lab_id = started.split()[1].rstrip(",")
    choose = ("--lab", lab_id)
    try:
        assert "node-1" in command(*choose, "status")
        assert command(*choose, "ssh", "node-1", "hostname") == "node-1\n"
        assert command(*choose, "exec", "node-1", "id", "-un") == "root\n"
        assert command(*choose, "controller", "nix", "eval", "--expr", "1") == "1\n"
        command(*choose, "fault", "node-1", "power-cut")
        assert " off " in command(*choose, "status")
    finally:
        command(*choose, "down")
    assert command(*choose, "status") == ""


@lab_test
def test_sixteen_hosts_start() -> None:
    """A fleet of 16 comes up and each answers."""
    with running_lab(fleet_of(16)) as lab:
        assert len(lab.hosts) == 16
        assert lab["node-10"].ssh("hostname").stdout == "node-10\n"
