"""The lab by hand: `python -m tests.lab up`, `ssh`, `exec`, `controller`, `fault`, `down`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests.lab import registry
from tests.lab.lab import attach, running_lab
from tests.lab.processes import REPOSITORY, LabError
from tests.lab.spec import DEFAULT_FLEET, HostSpec, fleet, named
from tests.lab.teardown import tear_down

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.host import Host

_DOWN_SECONDS = 30

# A fault's name, and what it does with a host and its one argument.
_FAULTS: dict[str, Callable[[Host, str], None]] = {
    "cut": lambda host, _: host.cut(),
    "restore": lambda host, _: host.restore(),
    "limit": lambda host, rate: host.limit(rate),
    "unlimit": lambda host, _: host.unlimit(),
    "latency": lambda host, milliseconds: _hold_latency(host, float(milliseconds)),
    "kill-sshd": lambda host, _: host.kill("sshd"),
    "kill-nix-daemon": lambda host, _: host.kill("nix-daemon"),
    "stop-sshd": lambda host, _: host.stop("sshd"),
    "start-sshd": lambda host, _: host.start("sshd"),
    "stop-nix-daemon": lambda host, _: host.stop("nix-daemon"),
    "start-nix-daemon": lambda host, _: host.start("nix-daemon"),
    "fill-store": lambda host, leave: host.fill_store(int(leave or 0)),
    "free-store": lambda host, _: host.free_store(),
    "power-cut": lambda host, _: host.power_cut(),
    "power-off": lambda host, _: host.power_off(),
    "boot": lambda host, _: host.boot(),
    "reboot": lambda host, _: host.reboot(),
}


def main() -> None:
    """Do what the command line says; a lab's error is one line, not a traceback."""
    options = _parser().parse_args()
    try:
        options.act(options)
    except LabError as error:
        sys.exit(f"lab: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--lab", help="which lab, if several run; see `status`")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, act: Callable[[argparse.Namespace], None], says: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=says, description=says)
        added.set_defaults(act=act)
        return added

    up = command("up", _up, "start a lab in the background")
    up.add_argument("--hosts", default="", help="how many, or their names: carbon,node-1")
    serve = command("serve", _serve, "start a lab and keep it until interrupted")
    serve.add_argument("--hosts", default="", help="how many, or their names")
    serve.add_argument("--background", action="store_true", help=argparse.SUPPRESS)
    command("down", _down, "end a lab and remove everything of it")
    command("status", _status, "list the labs, their hosts, addresses and state")
    write = command("inventory", _inventory, "write an Ansible inventory of the lab")
    write.add_argument("path", type=Path)
    for name, act, says in (
        ("ssh", _ssh, "ssh to a host, from the controller, as the user who deploys"),
        ("exec", _exec, "run a command on a host as root, without its network"),
    ):
        on_host = command(name, act, says)
        on_host.add_argument("host")
        on_host.add_argument("argv", nargs=argparse.REMAINDER)
    controller = command("controller", _controller, "run a command as the controller")
    controller.add_argument("--no-nix", action="store_true", help="without Nix on PATH")
    controller.add_argument("argv", nargs=argparse.REMAINDER)
    fault = command("fault", _fault, "do something to a host")
    fault.add_argument("host")
    fault.add_argument("fault", choices=_FAULTS)
    fault.add_argument("argument", nargs="?", default="", help="rate, milliseconds or bytes")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _specs(hosts: str) -> tuple[HostSpec, ...]:
    if not hosts:
        return DEFAULT_FLEET
    return fleet(int(hosts)) if hosts.isdigit() else named(tuple(hosts.split(",")))


def _up(options: argparse.Namespace) -> None:
    argv = [sys.executable, "-m", "tests.lab", "serve", "--background", "--hosts", options.hosts]
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd=REPOSITORY,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            lab_id = server.stdout.readline().strip()
        except KeyboardInterrupt:
            server.terminate()
            raise
        if not lab_id:
            sys.exit(server.wait())
        _show(registry.find(lab_id))
        # It stays; don't wait for it.
        server.returncode = 0


def _serve(options: argparse.Namespace) -> None:
    # A shell's background jobs begin with SIGINT ignored.
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        running_lab(_specs(options.hosts), background=options.background) as lab,
    ):
        _say(lab.lab_id)
        signal.pause()


def _down(options: argparse.Namespace) -> None:
    record = registry.find(options.lab)
    with contextlib.suppress(ProcessLookupError):
        os.kill(record.owner, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_SECONDS
    while any(lab.lab_id == record.lab_id for lab in registry.running()):
        if time.monotonic() > deadline:
            # Its reaper is gone too: someone killed both.
            tear_down(record.lab_id, Path(record.directory))
        time.sleep(0.05)


def _status(options: argparse.Namespace) -> None:
    for record in registry.running():
        if options.lab in (None, record.lab_id):
            _show(record)


def _show(record: registry.LabRecord) -> None:
    lab = attach(record)
    kept = "in the background" if record.background else f"kept by process {record.owner}"
    _say(f"lab {lab.lab_id}, {kept}, in {lab.directory}")
    for host in lab.hosts.values():
        way = f"through {host.spec.jump}" if host.spec.jump else ""
        power = "on" if host.is_on else "off"
        _say(
            f"  {host.name:<12} {host.address:<12} {power:<4} {host.spec.image:<7}"
            f" {host.spec.user:<7} {way} {' '.join(host.spec.features)}".rstrip()
        )


def _host(options: argparse.Namespace) -> Host:
    lab = attach(registry.find(options.lab))
    if options.host not in lab.hosts:
        message = f"no host {options.host}; there are {', '.join(lab.hosts)}"
        raise LabError(message)
    return lab[options.host]


def _replace(argv: tuple[str, ...], env: dict[str, str] | None = None) -> NoReturn:
    # The command takes this process's place, so that its terminal and exit are its own.
    os.execvpe(argv[0], argv, env or dict(os.environ))  # noqa: S606 - argv, no shell


def _ssh(options: argparse.Namespace) -> None:
    _replace(_host(options).ssh_argv(*options.argv))


def _exec(options: argparse.Namespace) -> None:
    _replace(_host(options).exec_argv(*(options.argv or ["bash"])))


def _controller(options: argparse.Namespace) -> None:
    lab = attach(registry.find(options.lab))
    controller = lab.controller(nix=not options.no_nix)
    # By hand, `nix copy --to ssh-ng://carbon` should just work.
    env = {**controller.env, "NIX_SSHOPTS": f"-F {lab.ssh_config}"}
    _replace((*controller.argv_prefix, *(options.argv or ["bash"])), env)


def _inventory(options: argparse.Namespace) -> None:
    attach(registry.find(options.lab)).write_inventory(options.path)


def _fault(options: argparse.Namespace) -> None:
    _FAULTS[options.fault](_host(options), options.argument)


def _hold_latency(host: Host, milliseconds: float) -> None:
    with host.latency(milliseconds) as endpoint, contextlib.suppress(KeyboardInterrupt):
        _say(f"{endpoint.address} port {endpoint.port}, until interrupted")
        signal.pause()
