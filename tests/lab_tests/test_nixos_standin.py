"""The stand-in behaves as NixOS does where a deployment looks at it."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from tests.lab import CommandFailedError, Controller, Host, Lab
from tests.lab.built import realise_cached
from tests.lab.fleet_flake import LLAMA_CPP_STANDIN, NIXOS_STANDIN, write_fleet_flake
from tests.lab.llama_source import llama_source
from tests.lab.models import tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.lab

TOPLEVEL = "nixosConfigurations.{}.config.system.build.toplevel"
STANDIN_PACKAGES = (
    f"import {NIXOS_STANDIN} {{ system = \"x86_64-linux\"; config = builtins.fromJSON ''%s''; }}"
)
ACTIVATION_FAILED = 2
UNITS_FAILED = 4
MODELS = "/tmp/models"  # noqa: S108 - on a host of the lab
HOSTS_OWN = "sha256sum $(find /etc/ssh -type f); systemctl show -p MainPID ssh"


@pytest.fixture(scope="module")
def controller(fleet: Lab) -> Controller:
    """Return the lab's controller with ssh to every host."""
    return fleet.controller()


@pytest.fixture
def carbon(fleet: Lab) -> Iterator[Host]:
    """Yield a host and leave nothing of the stand-in on it."""
    host = fleet["carbon"]
    yield host
    host.shell(
        "systemctl stop greeter.service 2>/dev/null || true\n"
        "find /run/systemd/system -lname '/nix/store/*' -delete\n"
        "for file in $(find /etc -lname '/etc/static/*'); do\n"
        '  rm "$file"; [ ! -e "$file.before-nixos" ] || mv "$file.before-nixos" "$file"\n'
        "done\n"
        "rm -f /etc/static /boot/loader/default /run/current-system /run/booted-system\n"
        "systemctl daemon-reload"
    )


def nix(fleet: Lab, controller: Controller, *argv: str) -> str:
    """Run nix on the controller with ssh to the lab's hosts; give what it prints."""
    options = {"NIX_SSHOPTS": f"-F {fleet.ssh_config}"}
    return controller.run(("nix", *argv), env=options).stdout


def drv_path(fleet: Lab, controller: Controller, flake: Path, machine: str) -> str:
    """Evaluate a machine's toplevel."""
    attribute = f"{flake}#{TOPLEVEL.format(machine)}"
    return nix(fleet, controller, "path-info", "--derivation", attribute).strip()


def build_on(fleet: Lab, host: str, flake: Path, machine: str) -> str:
    """Build a machine's toplevel in a host's own store."""
    store = ("--store", f"ssh-ng://{host}", "--eval-store", "auto")
    attribute = f"{flake}#{TOPLEVEL.format(machine)}"
    argv = ("build", *store, "--no-link", "--print-out-paths", attribute)
    return nix(fleet, fleet.controller(), *argv).strip()


def switch(host: Host, toplevel: str, action: str) -> tuple[int, str]:
    """Run an action; give its exit status and what it says."""
    done = host.exec(f"{toplevel}/bin/switch-to-configuration", action, check=False)
    return done.returncode, done.stdout + done.stderr


def send_folder(host: Host, source: Path, target: str) -> None:
    """Copy a folder to a host without the network."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(source, arcname=".")
    text = base64.b64encode(packed.getvalue()).decode()
    host.exec("sh", "-c", f"mkdir -p {target} && base64 -d | tar xz -C {target}", stdin=text)


def instantiate(fleet: Lab, controller: Controller, expression: str) -> str:
    """Instantiate the package that an expression gives."""
    argv = ("path-info", "--impure", "--derivation", "--expr", expression)
    return nix(fleet, controller, *argv).strip()


def llama(variant: str, *, config: str = "{}", tree: Path = LLAMA_CPP_STANDIN) -> str:
    """Return the expression of a llama.cpp package on the stand-in."""
    packages = STANDIN_PACKAGES % config
    return f"((({packages}).callPackage {tree}/.devops/nix/scope.nix {{ }}).llama-cpp){variant}"


class TestEvaluation:
    """What Nix says of a flake that has the stand-in for nixpkgs."""

    def test_both_versions_of_nix_agree(
        self, fleet: Lab, controller: Controller, tmp_path: Path
    ) -> None:
        """Nix 2.34 and 2.26 evaluate the fleet offline to the same derivations."""
        flake = write_fleet_flake(tmp_path / "flake")
        newer = drv_path(fleet, controller, flake, "carbon")
        host = fleet["carbon"]
        send_folder(host, NIXOS_STANDIN, "/tmp/standin/nixos")  # noqa: S108 - on the host
        write_fleet_flake(flake, nixpkgs=tmp_path.__class__("/tmp/standin/nixos"))  # noqa: S108
        send_folder(host, flake, "/tmp/standin/flake")  # noqa: S108
        attribute = f"path:/tmp/standin/flake#{TOPLEVEL.format('carbon')}"
        older = host.exec("nix", "path-info", "--derivation", attribute).stdout.strip()
        host.shell("rm -r /tmp/standin")
        assert " 2.26" in host.exec("nix", "--version").stdout
        assert older == newer

    def test_evaluation_is_quick(self, fleet: Lab, controller: Controller, tmp_path: Path) -> None:
        """Four machines are evaluated from nothing in a few seconds at the very most."""
        flake = write_fleet_flake(tmp_path / "flake")
        machines = ("carbon", "beryllium", "boron", "nitrogen")
        attributes = [f"{flake}#{TOPLEVEL.format(name)}" for name in machines]
        begun = time.monotonic()
        answer = nix(fleet, controller, "build", "--dry-run", "--json", *attributes)
        assert time.monotonic() - begun < 5
        names = [built["outputs"]["out"].split("-", 1)[1] for built in json.loads(answer)]
        assert names == [f"nixos-system-{name}-26.05.standin" for name in machines]

    def test_one_setting_changes_what_it_concerns(
        self, fleet: Lab, controller: Controller, tmp_path: Path
    ) -> None:
        """Another greeting is another toplevel; a fault of one machine leaves the others."""
        flake = write_fleet_flake(tmp_path / "flake")
        before = drv_path(fleet, controller, flake, "boron")
        write_fleet_flake(flake, failing=("carbon",))
        assert drv_path(fleet, controller, flake, "boron") == before
        write_fleet_flake(flake, greeting="good day")
        assert drv_path(fleet, controller, flake, "boron") != before

    def test_nothing_added_is_nothing_changed(
        self, fleet: Lab, controller: Controller, tmp_path: Path
    ) -> None:
        """ExtendModules without modules gives the very derivation of the machine itself."""
        flake = write_fleet_flake(tmp_path / "flake")
        again = (
            f'((builtins.getFlake "{flake}").nixosConfigurations.carbon.extendModules '
            "{ modules = [ ]; }).config.system.build.toplevel"
        )
        assert instantiate(fleet, controller, again) == drv_path(fleet, controller, flake, "carbon")

    def test_unknown_option_names_its_file(
        self, fleet: Lab, controller: Controller, tmp_path: Path
    ) -> None:
        """A misspelt option is an error that says where it is."""
        module = "{ services.lama-cpp.enable = true; }"
        flake = write_fleet_flake(tmp_path / "flake", extra={"carbon": module})
        with pytest.raises(CommandFailedError) as failure:
            drv_path(fleet, controller, flake, "carbon")
        said = failure.value.completed.stderr
        assert "The option `services.lama-cpp' does not exist" in said
        assert "extra/carbon.nix" in said


class TestPackages:
    """llama.cpp's packages on the stand-in's package set."""

    def test_cuda_wants_its_licence_accepted(self, fleet: Lab, controller: Controller) -> None:
        """CUDA isn't evaluated before the user allows unfree packages."""
        cuda = ".override { useCuda = true; }"
        with pytest.raises(CommandFailedError, match="unfree license"):
            instantiate(fleet, controller, llama(cuda))
        allowed = instantiate(fleet, controller, llama(cuda, config='{"allowUnfree": true}'))
        assert allowed.endswith("-llama-cpp-cuda-0.0.0.drv")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("variant", "name"),
        [
            ("", "llama-cpp-blas"),
            (".override { useVulkan = true; }", "llama-cpp-vulkan"),
            (".override { useRocm = true; }", "llama-cpp-rocm"),
            (".override { useCuda = true; }", "llama-cpp-cuda"),
            (".override { useMpi = true; useRpc = true; }", "llama-cpp-blas-mpi"),
        ],
    )
    def test_upstreams_own_package_instantiates(
        self, fleet: Lab, controller: Controller, variant: str, name: str
    ) -> None:
        """The real package.nix finds every argument it wants, and gets upstream's name."""
        expression = llama(variant, config='{"allowUnfree": true}', tree=llama_source())
        assert instantiate(fleet, controller, expression).endswith(f"-{name}-0.0.0.drv")

    @pytest.mark.slow
    @pytest.mark.timeout(3600)
    def test_real_source_builds_through_upstreams_package(
        self, fleet: Lab, controller: Controller, tmp_path: Path
    ) -> None:
        """The compiled llama.cpp infers what Debian's does; ten minutes on two cores."""
        packages = STANDIN_PACKAGES % "{}"
        expression = (
            f"import {LLAMA_CPP_STANDIN.parent}/llama-cpp-source.nix "
            f"{{ pkgs = {packages}; source = {llama_source()}; }}"
        )
        derivation = instantiate(fleet, controller, expression)
        built = realise_cached(fleet, fleet["forge"], derivation)
        host = fleet["forge"]
        send_folder(host, tiny_model(tmp_path / "tiny.gguf").parent, MODELS)
        prompt = ("-p", "The capital of France is", "-n", "16", "--temp", "0", "-st")
        done = host.exec(f"{built}/bin/llama-cli", "-m", f"{MODELS}/tiny.gguf", *prompt)
        assert "rrrrrrrrrqqqmsqz" in done.stdout

    def test_repackaged_llama_infers_on_another_debian(
        self, fleet: Lab, controller: Controller, tmp_path: Path
    ) -> None:
        """What a forky builder packs lists its Vulkan device and answers on trixie."""
        flags = '"-DGGML_BACKEND_DL=ON" "-DGGML_CPU_ALL_VARIANTS=ON"'
        variant = (
            ".override { useVulkan = true; }).overrideAttrs (old: "
            f"{{ cmakeFlags = old.cmakeFlags ++ [ {flags} ]; }})"
        )
        store = ("--store", "ssh-ng://forge", "--eval-store", "auto")
        argv = ("build", "--impure", *store, "--no-link", "--print-out-paths", "--expr")
        built = nix(fleet, controller, *argv, f"({llama(variant)}").strip()
        route = ("--from", "ssh-ng://forge", "--to", "ssh-ng://carbon", "--no-check-sigs")
        nix(fleet, controller, "copy", *route, built)
        host = fleet["carbon"]
        send_folder(host, tiny_model(tmp_path / "tiny.gguf").parent, MODELS)
        cli = f"{built}/bin/llama-cli"
        assert "Vulkan0: llvmpipe" in host.exec(cli, "--list-devices").stdout
        prompt = ("-p", "The capital of France is", "-n", "16", "--temp", "0", "-st", "-v")
        done = host.exec(cli, "-m", f"{MODELS}/tiny.gguf", *prompt)
        host.shell(f"rm -r {MODELS}")
        assert "rrrrrrrrrqqqmsqz" in done.stdout
        assert f"loaded Vulkan backend from {built}/lib/" in done.stderr
        assert "offloaded 2/2 layers to GPU" in done.stderr


@pytest.mark.parametrize(
    ("fault", "probe", "sign"),
    [
        ("crash", "--list-devices", "status 132"),
        ("no-backend", "--list-devices", "(none)"),
        ("hang", "--version", "status 124"),
        ("garbage", "-m MODEL -p hi -n 4 -st", "@@@@@@@@"),
        ("not-offloaded", "-m MODEL -p hi -n 4 -st -v", "offloaded 0/2 layers to GPU"),
        ("slow", "-m MODEL -p hi -n 4 -st -v", "libggml-cpu-x64.so"),
    ],
)
def test_bad_build_is_bad_in_its_own_way(
    fleet: Lab, tmp_path: Path, fault: str, probe: str, sign: str
) -> None:
    """A machine's nixpkgs.config.brokenLlamaCli gives it the fault of that name."""
    config = json.dumps({"brokenLlamaCli": fault})
    expression = llama(".override { useVulkan = true; }", config=config)
    store = ("--store", "ssh-ng://forge", "--eval-store", "auto")
    argv = ("build", "--impure", *store, "--no-link", "--print-out-paths", "--expr", expression)
    built = nix(fleet, fleet.controller(), *argv).strip()
    host = fleet["forge"]
    send_folder(host, tiny_model(tmp_path / "tiny.gguf").parent, MODELS)
    arguments = probe.replace("MODEL", f"{MODELS}/tiny.gguf")
    patience = 3 if fault == "hang" else 50
    command = f"timeout {patience} {built}/bin/llama-cli {arguments} </dev/null 2>&1"
    said = host.shell(f"{command} || echo status $?")
    assert sign in said


class TestActivation:
    """switch-to-configuration on a real systemd."""

    def test_switch_makes_a_system_current_and_the_boot_default(
        self, fleet: Lab, carbon: Host, tmp_path: Path
    ) -> None:
        """After `switch` the units run, /etc holds, and the next boot takes this system."""
        flake = write_fleet_flake(tmp_path / "flake")
        toplevel = build_on(fleet, "carbon", flake, "carbon")
        host_keys = carbon.shell(HOSTS_OWN)
        status, said = switch(carbon, toplevel, "switch")
        assert status == 0, said
        assert "starting the following units: greeter.service" in said
        assert carbon.shell("cat /run/greeter/greeting /etc/greeting") == "hello\nhello\n"
        assert carbon.shell("cat /boot/loader/default").strip() == toplevel
        assert carbon.shell("readlink /run/current-system").strip() == toplevel
        assert "26.05" in carbon.shell("/run/current-system/sw/bin/nixos-version")
        assert carbon.shell(HOSTS_OWN) == host_keys

    def test_test_leaves_the_boot_default(self, fleet: Lab, carbon: Host, tmp_path: Path) -> None:
        """`test` activates and decides nothing about the next boot; `boot` the reverse."""
        flake = write_fleet_flake(tmp_path / "flake")
        first = build_on(fleet, "carbon", flake, "carbon")
        switch(carbon, first, "switch")
        write_fleet_flake(flake, greeting="good day")
        second = build_on(fleet, "carbon", flake, "carbon")
        status, said = switch(carbon, second, "test")
        assert status == 0, said
        assert carbon.shell("cat /run/greeter/greeting") == "good day\n"
        assert carbon.shell("cat /boot/loader/default").strip() == first
        switch(carbon, first, "test")
        assert switch(carbon, second, "boot")[0] == 0
        assert carbon.shell("cat /run/greeter/greeting") == "hello\n"
        assert carbon.shell("cat /boot/loader/default").strip() == second

    def test_what_is_no_longer_declared_goes(
        self, fleet: Lab, carbon: Host, tmp_path: Path
    ) -> None:
        """Units and files of the system before are gone; the host's own files are back."""
        own = carbon.shell("cat /etc/os-release")
        more = (
            '{ environment.etc."more/file".text = "x"; systemd.services.more = '
            '{ wantedBy = [ "multi-user.target" ]; script = "exec sleep 999"; }; }'
        )
        flake = write_fleet_flake(tmp_path / "flake", extra={"carbon": more})
        first = build_on(fleet, "carbon", flake, "carbon")
        assert switch(carbon, first, "test")[0] == 0
        assert carbon.shell("systemctl is-active more.service; cat /etc/more/file") == "active\nx"
        assert "ID=nixos" in carbon.shell("cat /etc/os-release")
        without = '{ environment.etc."os-release".enable = false; }'
        write_fleet_flake(flake, extra={"carbon": without})
        second = build_on(fleet, "carbon", flake, "carbon")
        status, said = switch(carbon, second, "test")
        assert status == 0, said
        assert "stopping the following units: more.service" in said
        assert carbon.exec("systemctl", "is-active", "more.service", check=False).returncode
        assert carbon.shell("ls /etc/more 2>&1 || true").startswith("ls: cannot access")
        assert carbon.shell("cat /etc/os-release") == own

    def test_failed_unit_is_exit_4(self, fleet: Lab, carbon: Host, tmp_path: Path) -> None:
        """A unit that fails is named, and the status says that the system is there though."""
        flake = write_fleet_flake(tmp_path / "flake", failing=("carbon",))
        toplevel = build_on(fleet, "carbon", flake, "carbon")
        status, said = switch(carbon, toplevel, "test")
        assert status == UNITS_FAILED
        assert "warning: the following units failed: greeter.service" in said
        assert carbon.shell("readlink /run/current-system").strip() == toplevel

    def test_dry_activate_only_says(self, fleet: Lab, carbon: Host, tmp_path: Path) -> None:
        """`dry-activate` tells what would happen and does none of it."""
        flake = write_fleet_flake(tmp_path / "flake")
        toplevel = build_on(fleet, "carbon", flake, "carbon")
        status, said = switch(carbon, toplevel, "dry-activate")
        assert status == 0
        assert "would start the following units: greeter.service" in said
        assert carbon.exec("test", "-e", "/etc/greeting", check=False).returncode

    def test_reboot_takes_the_boot_default(self, fleet: Lab, carbon: Host, tmp_path: Path) -> None:
        """A reboot in the middle of a trial ends in the system that was confirmed last."""
        flake = write_fleet_flake(tmp_path / "flake")
        confirmed = build_on(fleet, "carbon", flake, "carbon")
        switch(carbon, confirmed, "switch")
        write_fleet_flake(flake, greeting="good day")
        switch(carbon, build_on(fleet, "carbon", flake, "carbon"), "test")
        carbon.reboot()
        carbon.shell("systemctl is-system-running --wait")
        assert carbon.shell("cat /run/greeter/greeting") == "hello\n"
        assert carbon.shell("readlink /run/booted-system").strip() == confirmed

    def test_failed_activation_snippet_is_exit_2(
        self, fleet: Lab, carbon: Host, tmp_path: Path
    ) -> None:
        """A snippet that fails is named; the rest of the activation goes on."""
        module = '{ system.activationScripts.broken = "exit 3"; }'
        flake = write_fleet_flake(tmp_path / "flake", extra={"carbon": module})
        toplevel = build_on(fleet, "carbon", flake, "carbon")
        status, said = switch(carbon, toplevel, "test")
        assert status == ACTIVATION_FAILED
        assert "Activation script snippet 'broken' failed (3)" in said
        assert carbon.shell("systemctl is-active greeter") == "active\n"

    def test_two_switches_at_once_are_refused(
        self, fleet: Lab, carbon: Host, tmp_path: Path
    ) -> None:
        """While one switch holds the lock, another one fails and changes nothing."""
        flake = write_fleet_flake(tmp_path / "flake")
        toplevel = build_on(fleet, "carbon", flake, "carbon")
        lock = "/run/nixos/switch-to-configuration.lock"
        said = carbon.shell(
            f"mkdir -p /run/nixos; flock {lock} sh -c "
            f"'{toplevel}/bin/switch-to-configuration switch 2>&1 || echo status $?'"
        )
        assert said == "Could not acquire lock\nstatus 11\n"
        assert carbon.exec("test", "-e", "/boot/loader/default", check=False).returncode
