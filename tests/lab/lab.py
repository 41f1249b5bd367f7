"""The lab as a whole: started, used, ended."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from tests.lab import disks, inventory, network, registry
from tests.lab.bundle import nix_bundle
from tests.lab.cgroups import cgroup_of
from tests.lab.controller import Controller, controller_env
from tests.lab.host import CONFINED, Host, Site
from tests.lab.images import IMAGES
from tests.lab.network import Namespace
from tests.lab.processes import GUEST, REPOSITORY, LabError, run
from tests.lab.registry import Entry, HostRecord, LabRecord
from tests.lab.spec import DEFAULT_FLEET, HostSpec
from tests.lab.teardown import tear_down_abandoned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOST_HOSTS = 250


@dataclass(frozen=True)
class Lab:
    """A running lab.

    Args:
        lab_id: what tells it from other labs on this machine.
        site: its folder, its cgroup, its switch.
        hosts: its hosts by name.

    """

    lab_id: str
    site: Site
    hosts: Mapping[str, Host]

    def __getitem__(self, name: str) -> Host:
        """Return the host of this name."""
        return self.hosts[name]

    @property
    def directory(self) -> Path:
        """Return the folder that holds everything of the lab, and goes away with it."""
        return self.site.directory

    @property
    def private_key(self) -> Path:
        """Return the key that the hosts let in."""
        return self.directory / "key"

    @property
    def known_hosts(self) -> Path:
        """Return the file of all host keys."""
        return self.directory / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """Return a file by which `ssh -F` reaches each host from the controller."""
        return self.directory / "ssh_config"

    def controller(self, *, nix: bool = True, home: Path | None = None) -> Controller:
        """Return the place where the product runs.

        Args:
            nix: whether there is a Nix on PATH; without, there surely is none.
            home: where HOME and XDG_* lie; the lab's own folder if not given.

        """
        env = controller_env(
            lab=self.directory,
            home=home or self.directory / "home",
            nix=nix_bundle() if nix else None,
        )
        return Controller(env, self.site.controller_prefix)

    def write_inventory(
        self,
        path: Path,
        fleet_vars: Mapping[str, Any] | None = None,
        host_vars: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Path:
        """Write the lab as an Ansible inventory in YAML, and give its path.

        Args:
            path: the file.
            fleet_vars: further variables of the group `all`.
            host_vars: further variables of hosts, by name.

        """
        shared = {
            "ansible_ssh_private_key_file": str(self.private_key),
            "orchestrate_known_hosts": str(self.known_hosts),
        }
        data = inventory.inventory(
            self.hosts.values(), shared | dict(fleet_vars or {}), host_vars or {}
        )
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path


def attach(record: LabRecord) -> Lab:
    """Return a handle on a lab that runs, also one that another process started."""
    directory = Path(record.directory)
    site = Site(
        directory, Path(record.cgroup), Namespace(record.switch), Namespace(record.controller)
    )
    wires = network.wire([host.spec for host in record.hosts])
    hosts = {
        host.spec.name: Host(host.spec, site, wires[host.spec.name], host.supervisor)
        for host in record.hosts
    }
    return Lab(record.lab_id, site, hosts)


@contextmanager
def running_lab(
    specs: Sequence[HostSpec] = DEFAULT_FLEET, *, background: bool = False
) -> Iterator[Lab]:
    """Start a lab, give it when every host answers ssh, and leave nothing behind."""
    _check(specs)
    tear_down_abandoned()
    for image in {spec.image for spec in specs}:
        IMAGES[image].nix_volume()
    with _Holders(secrets.token_hex(3)) as holders:
        record = holders.start(specs, background=background)
        lab = attach(record)
        _describe(lab)
        _boot(lab)
        record.save()
        yield lab


def why_not() -> str:
    """Return why no lab can run on this machine; empty if one can."""
    return run([Path(__file__).parent / "setup.sh", "--check"], check=False).stderr.strip()


def _check(specs: Sequence[HostSpec]) -> None:
    if reason := why_not():
        raise LabError(reason)
    by_name = {spec.name: spec for spec in specs}
    if len(by_name) != len(specs) or len(specs) > _MOST_HOSTS:
        message = f"host names must differ, and be {_MOST_HOSTS} at most"
        raise LabError(message)
    for spec in specs:
        jump = by_name.get(spec.jump) if spec.jump else None
        if spec.jump and (jump is None or jump.jump):
            message = f"{spec.name}: its jump host {spec.jump} must be in the lab's front"
            raise LabError(message)


def _describe(lab: Lab) -> None:
    hosts = lab.hosts.values()
    lab.known_hosts.write_text(inventory.known_hosts(hosts))
    config = inventory.ssh_config(hosts, private_key=lab.private_key, known=lab.known_hosts)
    lab.ssh_config.write_text(config)


def _boot(lab: Lab) -> None:
    lab.site.switch.ip(
        line
        for host in lab.hosts.values()
        for port in host.ports
        for line in port.plug_in(host.supervisor)
    )
    for host in lab.hosts.values():
        host.switch_on()
    with ThreadPoolExecutor(len(lab.hosts)) as waiting:
        for done in [waiting.submit(host.wait_for_ssh) for host in lab.hosts.values()]:
            done.result()


class _Holders:
    """The processes that hold a lab's namespaces and mounts, and the one that ends them."""

    def __init__(self, lab_id: str) -> None:
        self._lab_id = lab_id
        base = Path(os.environ.get("TMPDIR") or "/var/tmp")  # noqa: S108 - outlives no lab
        self._directory = base / f"orchestrate-lab-{lab_id}"
        self._cgroup = cgroup_of(lab_id)
        self._holders: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        """Start the reaper, before anything that it would have to remove."""
        argv = [sys.executable, "-m", "tests.lab.reaper", self._lab_id, str(self._directory)]
        self._reaper = subprocess.Popen(
            [*argv, str(os.getpid())],
            stdin=subprocess.PIPE,
            # A Ctrl-C at the terminal is not meant for it.
            start_new_session=True,
            cwd=REPOSITORY,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Have everything ended and removed."""
        with self._reaper:
            pass  # closes its standard input, which is its sign, and waits
        for holder in self._holders:
            holder.communicate()

    def start(self, specs: Sequence[HostSpec], *, background: bool) -> LabRecord:
        """Bring up everything except the hosts' wires and power."""
        registry.enter(Entry(self._lab_id, str(self._directory), self._reaper.pid))
        self._directory.mkdir(mode=0o755)
        for name in ("holders", "controller", *(spec.name for spec in specs)):
            (self._cgroup / name).mkdir(parents=True)
        disks.make_key(self._directory / "key", "lab")
        sleeper = ("unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity")
        for argv in (sleeper, sleeper, *self._supervisors(specs)):
            self._hold(argv)
        for holder in self._holders:
            _wait_until_ready(holder)
        switch, controller, *supervisors = (holder.pid for holder in self._holders)
        network.build_switch(Namespace(switch), Namespace(controller))
        return LabRecord(
            lab_id=self._lab_id,
            directory=str(self._directory),
            cgroup=str(self._cgroup),
            owner=os.getpid(),
            background=background,
            switch=switch,
            controller=controller,
            hosts=tuple(
                HostRecord(spec, pid) for spec, pid in zip(specs, supervisors, strict=True)
            ),
        )

    def _hold(self, argv: Sequence[str]) -> None:
        holder = subprocess.Popen(
            ["bash", str(GUEST / "join.sh"), str(self._cgroup / "holders"), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._holders.append(holder)

    def _supervisors(self, specs: Sequence[HostSpec]) -> Iterator[tuple[str, ...]]:
        """Lay out each host's disks and give the command that keeps it powered."""
        wires = network.wire(specs)
        login = (self._directory / "key.pub").read_text()
        neighbours = "127.0.0.1 localhost\n" + "".join(
            f"{ports[0].address} {name}\n" for name, ports in wires.items()
        )
        for spec in specs:
            directory = self._directory / "hosts" / spec.name
            disks.lay_out(directory, spec, login=login, neighbours=neighbours)
            yield (
                *("unshare", "--net", "--mount", "--propagation=private"),
                *("bash", str(GUEST / "supervise.sh"), str(directory)),
                *(str(IMAGES[spec.image].root()), str(self._cgroup / spec.name)),
                *(" ".join(CONFINED), spec.name),
                *(f"{port.address}/16" for port in wires[spec.name]),
            )


def _wait_until_ready(holder: subprocess.Popen[str]) -> None:
    assert holder.stdout is not None
    said = holder.stdout.readline()
    if said != "ready\n":
        message = f"a part of the lab did not start: {said}{holder.stdout.read()}"
        raise LabError(message)
