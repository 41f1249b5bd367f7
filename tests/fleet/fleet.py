"""A fleet to deploy to: the lab, an inventory of it, and a flake that a test changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab import Controller, Lab
from tests.lab.fleet_flake import LLAMA_CPP_STANDIN, Fault, write_fleet_flake
from tests.lab.processes import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tests.lab import Host

TARGETS = ("carbon", "beryllium", "boron", "nitrogen")
BUILDERS = ("forge", "anvil")

ORCHESTRATE = (sys.executable, "-m", "orchestrator")
"""The product of this checkout, whatever is installed."""

_number = count()

SLOW = """
  { pkgs, ... }: {
    environment.etc.slow.source =
      pkgs.runCommand "slow-on-purpose" { } "echo it begins; sleep %d; echo %s >$out";
  }
"""
"""A module whose build takes seconds: `SLOW % (seconds, text)`."""


@dataclass(frozen=True)
class HostState:
    """What a host says of itself, asked without the product or the network."""

    running: str
    boot_default: str
    boot_id: str
    greeter_started: str
    greeting: str
    rollback_armed: bool
    store_paths: int


def state_of(host: Host) -> HostState:
    """Ask a host what it runs, boots and has."""
    asked = host.shell(
        "resolved() { [ -e $1 ] && readlink -f $1 || echo; }\n"
        "resolved /run/current-system\n"
        "resolved /nix/var/nix/profiles/system\n"
        "cat /proc/sys/kernel/random/boot_id\n"
        "systemctl show --property=ActiveEnterTimestampMonotonic --value greeter.service || echo\n"
        "cat /run/greeter/greeting 2>/dev/null || echo\n"
        "systemctl is-active orchestrate-rollback.timer || true\n"
        "ls /nix/store | grep -vc -e '^\\.links$' -e '\\.lock$' || true\n"
    )
    running, boots, boot_id, started, greeting, timer, paths = asked.splitlines()
    return HostState(running, boots, boot_id, started, greeting, timer == "active", int(paths))


@dataclass(frozen=True)
class Deployment:
    """What a command with `--json` said: its events, each host's result, its end."""

    events: tuple[dict[str, Any], ...]
    hosts: Mapping[str, dict[str, Any]]
    returncode: int
    stderr: str

    def find(self, **wanted: str) -> list[dict[str, Any]]:
        """Return the events whose fields are as wanted."""
        return [
            event
            for event in self.events
            if all(event[name] == value for name, value in wanted.items())
        ]

    def why(self) -> str:
        """Render how it ended, for the message of a failed test."""
        messages = {name: result["message"] for name, result in self.hosts.items()}
        return f"{self.returncode} {self.outcomes()} {messages}\n{self.stderr}"

    def failure(self, host: str) -> str:
        """Return all parts of what a host failed with, as one text."""
        return json.dumps(self.hosts[host]["failure"], ensure_ascii=False)

    def outcomes(self) -> dict[str, str]:
        """Return each host's outcome."""
        return {name: result["outcome"] for name, result in self.hosts.items()}


def parse(output: str, returncode: int, stderr: str) -> Deployment:
    """Read the lines of `--json`; without `run_finished` no host has a result."""
    events = tuple(json.loads(line) for line in output.splitlines() if line.startswith("{"))
    ended = events and events[-1]["event"] == "run_finished"
    hosts = events[-1]["hosts"] if ended else {}
    return Deployment(events, hosts, returncode, stderr)


@dataclass(frozen=True)
class Fleet:
    """The four machines and two builders of a lab, seen by someone who deploys.

    Args:
        lab: the real hosts.
        controller: where the product runs.
        directory: holds the inventory and the flake.
        inventory: the inventory's file.
        flake: the user's flake.
        fleet_vars: variables of the group `all` in the inventory.
        host_vars: variables of single hosts in it.
        options: for each command of the product.
    """

    lab: Lab
    controller: Controller
    directory: Path
    inventory: Path
    flake: Path
    fleet_vars: Mapping[str, Any] = field(default_factory=dict)
    host_vars: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    options: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Host:
        """Return the host of this name."""
        return self.lab[name]

    def argv(self, *args: str) -> list[str]:
        """Return the command line of a command of the product, with this inventory."""
        return [*ORCHESTRATE, *args, "--inventory", str(self.inventory), *self.options]

    @property
    def env(self) -> dict[str, str]:
        """Return what makes the controller's Python find this checkout."""
        return {"PYTHONPATH": str(REPOSITORY)}

    def orchestrate(
        self, *args: str, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the product to its end."""
        return self.controller.run(
            self.argv(*args), check=check, env=self.env, cwd=self.directory, timeout=timeout
        )

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start a command of the product and go on; its output is to be read."""
        # SIGINT as on a terminal: a test run in the background hands down one ignored.
        return self.controller.popen(
            ["env", "--default-signal=INT", *self.argv(*args)],
            env=self.env,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def events_of(self, *args: str) -> Deployment:
        """Run a command with `--json`, whatever becomes of it, and read what it says."""
        done = self.orchestrate(*args, "--json", check=False)
        return parse(done.stdout, done.returncode, done.stderr)

    def deploy_json(self, target: str = "fleet", *options: str) -> Deployment:
        """Deploy and read the events."""
        return self.events_of("deploy", target, *options)

    def change(
        self,
        *,
        failing: Collection[str] = (),
        hanging: Collection[str] = (),
        broken: Mapping[str, Fault] | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> str:
        """Change the user's flake so that every machine gets a new system; give its greeting."""
        greeting = f"hello {next(_number)}"
        write_fleet_flake(
            self.flake,
            greeting=greeting,
            failing=failing,
            hanging=hanging,
            broken=broken,
            extra=extra,
        )
        return greeting

    def with_vars(
        self,
        fleet_vars: Mapping[str, Any] | None = None,
        host_vars: Mapping[str, Mapping[str, Any]] | None = None,
        controller: Controller | None = None,
    ) -> Fleet:
        """Return the same fleet by another inventory, with these variables on top."""
        everywhere = {**self.fleet_vars, **(fleet_vars or {})}
        extra = host_vars or {}
        single = {
            name: {**self.host_vars.get(name, {}), **extra.get(name, {})}
            for name in {*self.host_vars, *extra}
        }
        path = self.directory / f"inventory-{next(_number)}.yml"
        self.lab.write_inventory(path, everywhere, single)
        return replace(
            self,
            inventory=path,
            fleet_vars=everywhere,
            host_vars=single,
            controller=controller or self.controller,
        )

    def states(self, names: Sequence[str] = TARGETS) -> dict[str, HostState]:
        """Ask hosts what they run, boot and have."""
        return {name: state_of(self.lab[name]) for name in names}

    def processes(self) -> list[str]:
        """Return the command lines of the product's processes on the controller."""
        return [line for line in self.running().values() if line]

    def running(self) -> dict[int, str]:
        """Return the processes on the controller, by their number, with their command lines."""
        group = self.lab.site.cgroup / "controller" / "cgroup.procs"
        return {int(pid): _command_line(pid) for pid in group.read_text().split()}


def _command_line(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - not a path of anybody
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def new_fleet(lab: Lab, directory: Path) -> Fleet:
    """Write an inventory of a lab and a user's flake; nitrogen is pinned to Vulkan."""
    flake = write_fleet_flake(directory / "machines")
    empty = Fleet(lab, lab.controller(), directory, directory, flake)
    return empty.with_vars(
        {"orchestrate_flake": str(flake), "orchestrate_llama_cpp": str(LLAMA_CPP_STANDIN)},
        {"nitrogen": {"orchestrate_llama_variant": "vulkan"}},
    )


def read_until(process: subprocess.Popen[str], **wanted: str) -> dict[str, Any]:
    """Read a command's events until one is as wanted; give that one."""
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if all(event.get(name) == value for name, value in wanted.items()):
            return event
    _, said = process.communicate()
    message = f"the command ended before {wanted}: {said}"
    raise AssertionError(message)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a controller at once, as the kernel would; what it printed is dropped."""
    os.kill(process.pid, 9)
    process.communicate()


def read_until_it_begins(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Read a command's events until its slow build says that it begins; give that one."""
    return read_until(process, event="log_line", line="it begins")
