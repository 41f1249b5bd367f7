"""The lab's wires: a switch with two segments, a port per host, the controller.

Namespaces have no name and no file: each lives as long as the process that holds
it, so a dead lab leaves none behind.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab.processes import LabError, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from subprocess import CompletedProcess

    from tests.lab.spec import HostSpec

_CLONE_NEWNET = 0x40000000
_BURST_BYTES = 128 << 10
_QUEUE_MILLISECONDS = 400


@dataclass(frozen=True)
class Namespace:
    """A network namespace, known by the process that holds it."""

    pid: int

    @property
    def argv_prefix(self) -> tuple[str, ...]:
        """Return what to put before a command so that it runs inside."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net", "--")

    def run(self, *argv: str, stdin: str = "") -> CompletedProcess[str]:
        """Run a command inside."""
        return run([*self.argv_prefix, *argv], stdin=stdin)

    def ip(self, lines: Iterable[str]) -> None:
        """Run `ip` commands inside, all in one process."""
        self.run("ip", "-batch", "-", stdin="".join(f"{line}\n" for line in lines))

    def wait_for_ssh(self, seconds: float, is_on: Callable[[], bool]) -> None:
        """Return when an sshd inside says hello on the loopback address."""
        answered: list[bool] = []

        # setns changes the calling thread alone, so it gets a thread of its own.
        def probe() -> None:
            _enter_network(self.pid)
            deadline = time.monotonic() + seconds
            while not answered and is_on() and time.monotonic() < deadline:
                if _says_hello():
                    answered.append(True)
                else:
                    time.sleep(0.02)

        thread = threading.Thread(target=probe)
        thread.start()
        thread.join()
        if not answered:
            message = f"no sshd answered within {seconds} s"
            raise LabError(message)


def _enter_network(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


def _says_hello() -> bool:
    try:
        with socket.create_connection(("127.0.0.1", 22), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


@dataclass(frozen=True)
class Segment:
    """A bridge of the switch and its addresses."""

    bridge: str
    port_prefix: str
    network: str

    def address(self, index: int) -> str:
        """Return the address of the host of this index, counted from 0."""
        return f"{self.network}.1.{index + 1}"


FRONT = Segment("front", "f", "10.77")
# Where the hosts behind a jump host are. The controller has no wire to it.
BACK = Segment("back", "b", "10.78")
CONTROLLER_ADDRESS = "10.77.0.1"


@dataclass(frozen=True)
class Port:
    """The wire between the switch and one network interface of a host."""

    segment: Segment
    index: int
    interface: str

    @property
    def name(self) -> str:
        """Name the switch's end."""
        return f"{self.segment.port_prefix}{self.index}"

    @property
    def address(self) -> str:
        """Return the address of the host's end."""
        return self.segment.address(self.index)

    def plug_in(self, host_pid: int) -> list[str]:
        """Return the `ip` commands, for the switch, that make and connect the wire."""
        # A fixed MAC, or a peer that knew the host before loses 8 to 25 s to stale ARP.
        second, third = divmod(self.index, 256)
        mac = f"02:4c:{self.segment.network.replace('.', ':')}:{second:02x}:{third:02x}"
        return [
            (
                f"link add {self.name} type veth peer name {self.interface} "
                f"address {mac} netns {host_pid}"
            ),
            self.connected(),
            f"link set {self.name} up",
        ]

    def connected(self) -> str:
        """Return the `ip` command that connects the wire to the switch."""
        return f"link set {self.name} master {self.segment.bridge}"

    def cut(self) -> str:
        """Return the `ip` command that cuts it far away: no carrier loss, just silence."""
        return f"link set {self.name} nomaster"


def wire(specs: Sequence[HostSpec]) -> dict[str, tuple[Port, ...]]:
    """Return each host its wires: front, or back behind a jump host, which has both."""
    jumps = {spec.jump for spec in specs}
    wires: dict[str, tuple[Port, ...]] = {}
    for index, spec in enumerate(specs):
        if spec.jump:
            wires[spec.name] = (Port(BACK, index, "eth0"),)
        elif spec.name in jumps:
            wires[spec.name] = (Port(FRONT, index, "eth0"), Port(BACK, index, "eth1"))
        else:
            wires[spec.name] = (Port(FRONT, index, "eth0"),)
    return wires


def build_switch(switch: Namespace, controller: Namespace) -> None:
    """Make the bridges and the controller's wire."""
    switch.ip(
        [
            *(f"link add {segment.bridge} type bridge" for segment in (FRONT, BACK)),
            *(f"link set {segment.bridge} up" for segment in (FRONT, BACK)),
            f"link add controller type veth peer name eth0 netns {controller.pid}",
            f"link set controller master {FRONT.bridge}",
            "link set controller up",
        ]
    )
    controller.ip(
        [
            "link set lo up",
            f"address add {CONTROLLER_ADDRESS}/16 dev eth0",
            "link set eth0 up",
        ]
    )


def set_rate(namespace: Namespace, interface: str, rate: str) -> None:
    """Let an interface send no faster than `rate`, in tc's units, such as 8mbit."""
    limits = f"rate {rate} burst {_BURST_BYTES} latency {_QUEUE_MILLISECONDS}ms"
    namespace.run("tc", "qdisc", "replace", "dev", interface, "root", "tbf", *limits.split())


def clear_rate(namespace: Namespace, interface: str) -> None:
    """Let an interface send at full speed again."""
    # What a veth has by itself; unlike `delete`, right also when nothing limits it.
    namespace.run("tc", "qdisc", "replace", "dev", interface, "root", "noqueue")
