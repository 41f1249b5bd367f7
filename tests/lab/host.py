"""One host of a running lab: running commands on it, its power, its wires, its faults."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.lab import relay
from tests.lab.disks import HOST_KEY, SUDOERS, sudo_rule
from tests.lab.network import FRONT, Namespace, Port, clear_rate, set_rate
from tests.lab.processes import GUEST, LabError, run
from tests.lab.spec import HostSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


Daemon = Literal["sshd", "nix-daemon"]
_UNITS = {"sshd": ("ssh.service",), "nix-daemon": ("nix-daemon.socket", "nix-daemon.service")}
_BOOT_SECONDS = 60
_GUEST_ENV = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb")
# Root on a host can't by accident set the machine's clock or load its modules.
CONFINED = ("setpriv", "--bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog")
_BALLAST = "/nix/.lab-ballast"
# A file as large as what df calls free doesn't fit, because it needs blocks for its
# own map: the last megabytes are written.
_FILL = f"""
avail() {{ echo $(($(stat -f -c '%a * %S' /nix))); }}
fallocate -l $(($(avail) - $1 - (4 << 20))) {_BALLAST}
dd if=/dev/zero of={_BALLAST}.end bs=4k count=$((($(avail) - $1) / 4096)) 2>/dev/null ||
  [ "$1" = 0 ]
"""


@dataclass(frozen=True)
class Site:
    """What the hosts of one lab share."""

    directory: Path
    cgroup: Path
    switch: Namespace
    controller: Namespace

    @property
    def controller_prefix(self) -> tuple[str, ...]:
        """Return what makes a command a process of the controller."""
        join = ("bash", str(GUEST / "join.sh"), str(self.cgroup / "controller"))
        return (*join, *self.controller.argv_prefix)


@dataclass(frozen=True)
class Endpoint:
    """Where something listens, seen from the controller."""

    address: str
    port: int


@dataclass(frozen=True)
class Host:
    """A host of a running lab.

    Args:
        spec: what was asked for.
        site: the lab around it.
        ports: its wires, the one by which others know it first.
        supervisor: the process that holds its disks and network.

    """

    spec: HostSpec
    site: Site
    ports: tuple[Port, ...]
    supervisor: int

    @property
    def name(self) -> str:
        """Return the inventory name."""
        return self.spec.name

    @property
    def address(self) -> str:
        """Return the address by which it is reached, if need be through its jump host."""
        return self.ports[0].address

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return all its addresses."""
        return tuple(port.address for port in self.ports)

    @property
    def directory(self) -> Path:
        """Return the folder of its disks."""
        return self.site.directory / "hosts" / self.name

    @property
    def public_host_key(self) -> str:
        """Return its ssh host key: type and base64, without a comment."""
        text = (self.directory / "upper" / f"{HOST_KEY}.pub").read_text()
        return " ".join(text.split()[:2])

    @property
    def network(self) -> Namespace:
        """Return its network namespace, which outlives its boots."""
        return Namespace(self.supervisor)

    @property
    def is_on(self) -> bool:
        """Return whether it has power."""
        return (self.directory / "state").read_text().strip() == "on"

    @property
    def pid(self) -> int:
        """Return its PID 1 as this machine numbers it."""
        try:
            return int((self.directory / "pid").read_text())
        except FileNotFoundError:
            message = f"{self.name} is off"
            raise LabError(message) from None

    @property
    def boot_id(self) -> str:
        """Return the id of the present boot."""
        return self.exec("cat", "/proc/sys/kernel/random/boot_id").stdout.strip()

    # Commands

    def exec_argv(self, *argv: str) -> tuple[str, ...]:
        """Return the command that runs `argv` as root on the host, without its network."""
        enter = ("nsenter", f"--target={self.pid}", "--all", "--")
        return (*enter, *CONFINED, "env", "-i", *_GUEST_ENV, *argv)

    def exec(
        self, *argv: str, check: bool = True, stdin: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root on the host, without its network and without ssh."""
        return run(self.exec_argv(*argv), check=check, stdin=stdin, timeout=timeout)

    def shell(self, script: str, *, check: bool = True) -> str:
        """Run a script as root on the host and give what it prints."""
        return self.exec("sh", "-euc", script, check=check).stdout

    def ssh_argv(self, *argv: str) -> tuple[str, ...]:
        """Return the command that runs `argv` by ssh from the controller."""
        config = str(self.site.directory / "ssh_config")
        command = (shlex.join(argv),) if argv else ()
        return (*self.site.controller_prefix, "ssh", "-F", config, self.name, *command)

    def ssh(
        self, *argv: str, check: bool = True, stdin: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command by ssh from the controller, as the user who deploys."""
        return run(self.ssh_argv(*argv), check=check, stdin=stdin, timeout=timeout)

    # Power

    def power_cut(self) -> None:
        """Take the power away: everything stops at once; files survive; it stays off."""
        if self.is_on:
            # Power may go the moment after it came, when there is no process yet.
            self._wait(lambda: self._pid_or_none() is not None, "start")
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._wait_until_off()

    def power_off(self) -> None:
        """Shut it down in good order; it stays off."""
        self.exec("systemctl", "poweroff", "--force", check=False)
        self._wait_until_off()

    def switch_on(self) -> None:
        """Power it on and return at once."""
        if not self.is_on:
            # Here and not by the supervisor, so that a waiting test knows it at once.
            (self.directory / "state").write_text("on\n")
            with (self.directory / "power").open("w") as power:
                power.write("on\n")

    def boot(self) -> None:
        """Power it on and return when it is up, its boot default activated."""
        self.switch_on()
        self.wait_until_up()

    def reboot(self) -> None:
        """Reboot it in good order and return when it is up again."""
        before = self.pid
        self.exec("systemctl", "reboot", "--force", check=False)
        self._wait(lambda: self._pid_or_none() not in (None, before), "start again")
        self.wait_until_up()

    def wait_for_ssh(self) -> None:
        """Return when its sshd answers."""
        try:
            self.network.wait_for_ssh(_BOOT_SECONDS, lambda: self.is_on)
        except LabError as error:
            console = (self.directory / "console").read_text(errors="replace")[-2000:]
            message = f"{self.name}: {error}\n{console}"
            raise LabError(message) from None

    def wait_until_up(self) -> None:
        """Return when its sshd answers and every unit has started or failed."""
        self.wait_for_ssh()
        self.exec("systemctl", "is-system-running", "--wait", check=False)

    def _pid_or_none(self) -> int | None:
        try:
            return self.pid
        except LabError:
            return None

    def _wait_until_off(self) -> None:
        self._wait(lambda: not self.is_on, "go off")

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _BOOT_SECONDS
        while not done():
            if time.monotonic() > deadline:
                message = f"{self.name} did not {what} within {_BOOT_SECONDS} s"
                raise LabError(message)
            time.sleep(0.02)

    # Wires

    def cut(self) -> None:
        """Cut its network: packets vanish silently, both ways."""
        self.site.switch.ip(port.cut() for port in self.ports)

    def restore(self) -> None:
        """Mend what `cut` cut."""
        self.site.switch.ip(port.connected() for port in self.ports)

    def limit(self, rate: str) -> None:
        """Limit its network to `rate` each way, in tc's units, such as `8mbit`."""
        for port in self.ports:
            set_rate(self.site.switch, port.name, rate)
            set_rate(self.network, port.interface, rate)

    def unlimit(self) -> None:
        """Lift the limit."""
        for port in self.ports:
            clear_rate(self.site.switch, port.name)
            clear_rate(self.network, port.interface)

    @contextmanager
    def latency(self, milliseconds: float, port: int = 22) -> Iterator[Endpoint]:
        """Yield an endpoint that is this host with a longer round trip.

        The endpoint's host key is added to the lab's known_hosts.
        """
        if self.ports[0].segment is not FRONT:
            message = f"{self.name} is behind {self.spec.jump}: delay the jump host instead"
            raise LabError(message)
        one_way = milliseconds / 2000
        script = [sys.executable, relay.__file__, self.address, str(port), str(one_way)]
        argv = [*self.site.controller_prefix, *script]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as relaying:
            try:
                assert relaying.stdout is not None
                endpoint = Endpoint("127.0.0.1", int(relaying.stdout.readline()))
                with (self.site.directory / "known_hosts").open("a") as known:
                    known.write(f"[{endpoint.address}]:{endpoint.port} {self.public_host_key}\n")
                yield endpoint
            finally:
                relaying.kill()

    # Daemons and disks

    def kill(self, daemon: Daemon) -> None:
        """Crash a daemon and what it serves; its unit decides whether it starts again."""
        self.exec("systemctl", "kill", "--kill-whom=all", "--signal=KILL", _UNITS[daemon][-1])

    def stop(self, daemon: Daemon) -> None:
        """Stop a daemon; it stays away."""
        self.exec("systemctl", "stop", *_UNITS[daemon])

    def start(self, daemon: Daemon) -> None:
        """Start a daemon again."""
        self.exec("systemctl", "start", _UNITS[daemon][0])

    def ask_sudo_password(self, password: str | None) -> None:
        """Make sudo ask the deploying user for this password; None: for none, as before."""
        user = self.spec.user
        if password is not None:
            self.exec("chpasswd", stdin=f"{user}:{password}\n")
        self.exec("tee", SUDOERS, stdin=sudo_rule(user, asks=password is not None))

    def fill_store(self, leave: int = 0) -> None:
        """Fill the filesystem of /nix until `leave` bytes are free."""
        self.exec("sh", "-euc", _FILL, "fill", str(leave))

    def free_store(self) -> None:
        """Undo `fill_store`."""
        self.exec("rm", "-f", _BALLAST, f"{_BALLAST}.end")
