"""The fault matrix: what is broken, when, and where the host may end.

`docs/guarantees.md` has the same table; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.fleet.faults import strike
from tests.fleet.faults.moment import Deploying, Moment
from tests.lab.fleet_flake import Fault as BadLlama


class Fault(StrEnum):
    """What is broken on purpose."""

    ACTIVATION_FAILS = "activation fails"
    ACTIVATION_HANGS = "activation hangs"
    SSHD_DIES = "sshd dies on switch"
    NETWORK_DIES = "network dies on switch"
    SMOKE_FAILS = "smoke fails"
    SMOKE_HANGS = "smoke hangs"
    CONTROLLER_KILLED = "controller SIGKILL"
    WORKER_KILLED = "worker SIGKILL"
    SERVER_KILLED = "valkey killed"
    REBOOTED = "target rebooted"
    DISK_FULL = "disk full"


class End(StrEnum):
    """Which system the host has in the end, wholly, and with which exit code the run ends."""

    OLD = "old, 3"
    NEW = "new, 0"
    NEW_UNREACHABLE = "new, 4"

    @property
    def is_new(self) -> bool:
        """Whether it is the new system."""
        return self is not End.OLD

    @property
    def code(self) -> int:
        """The exit code of the command that ended the run."""
        return int(self.value[-1])


@dataclass(frozen=True)
class Cell:
    """One fault at one moment.

    Args:
        fault: what is broken.
        moment: when.
        ends: where the host may end; one of them, and nothing between.
        struck: breaks it in the middle of the moment; None for what the new
            system brings along itself.
        hook: what the new system does at that moment.
        module: what the new system has besides.
        llama: how its llama.cpp is bad; `held` is not.
        variables: of the inventory.
        is_quick: whether it runs with all tests, and not with `make test-faults` alone.
    """

    fault: Fault
    moment: Moment
    ends: tuple[End, ...]
    struck: Callable[[Deploying], None] | None = None
    hook: str = ""
    module: str = ""
    llama: BadLlama = "held"
    variables: Mapping[str, Any] = field(default_factory=dict)
    is_quick: bool = False

    def __str__(self) -> str:
        """Name it as pytest shows it."""
        return f"{self.fault} at {self.moment}".replace(" ", "-")


# The system takes away sshd, or the network, for as long as it runs.
WITHOUT = """
    systemd.services.without = {{
      description = "Takes something away for as long as it is there";
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {{
        Type = "oneshot";
        RemainAfterExit = true;
      }};
      script = "{away}";
      preStop = "{back}";
    }};
"""
SSHD_AWAY = (
    "/usr/bin/systemctl kill --kill-whom=all --signal=KILL ssh.service;"
    " /usr/bin/systemctl stop ssh.service"
)
SSHD_BACK = "/usr/bin/systemctl start --no-block ssh.service"
NETWORK_AWAY = "/usr/sbin/ip link set eth0 down"
NETWORK_BACK = "/usr/sbin/ip link set eth0 up"

SOON = {"orchestrate_confirm_timeout": 8, "orchestrate_way_back_timeout": 8}
"""Nothing confirms, so the host goes back within seconds."""

LATER = {"orchestrate_confirm_timeout": 45}
"""Longer than it takes to notice that a worker is dead."""


def _killed(fault: Fault, struck: Callable[[Deploying], None]) -> tuple[Cell, ...]:
    """Return what a dead part leaves: before the switch and after the confirmation nothing is lost.

    In between nothing confirms in time, and the host goes back by itself.
    """
    return (
        Cell(fault, Moment.COPY, (End.NEW,), struck, variables=SOON),
        Cell(fault, Moment.TEST, (End.OLD,), struck, variables=SOON),
        Cell(fault, Moment.SMOKE, (End.OLD,), struck, variables=SOON),
        Cell(fault, Moment.CONFIRM, (End.NEW,), struck, variables=SOON),
    )


CELLS = (
    Cell(
        Fault.ACTIVATION_FAILS,
        Moment.TEST,
        (End.OLD,),
        hook="exit 1",
        is_quick=True,
    ),
    Cell(Fault.ACTIVATION_FAILS, Moment.CONFIRM, (End.OLD,), hook="exit 1", is_quick=True),
    Cell(
        Fault.ACTIVATION_HANGS,
        Moment.TEST,
        (End.OLD,),
        hook="exec sleep infinity",
        variables=SOON,
    ),
    Cell(
        Fault.ACTIVATION_HANGS,
        Moment.CONFIRM,
        (End.OLD,),
        hook="exec sleep infinity",
        variables=SOON,
    ),
    Cell(
        Fault.SSHD_DIES,
        Moment.TEST,
        (End.OLD,),
        module=WITHOUT.format(away=SSHD_AWAY, back=SSHD_BACK),
        variables=SOON,
    ),
    Cell(
        Fault.SSHD_DIES,
        Moment.CONFIRM,
        (End.NEW_UNREACHABLE,),
        hook=SSHD_AWAY,
        variables=SOON,
    ),
    Cell(
        Fault.NETWORK_DIES,
        Moment.TEST,
        (End.OLD,),
        module=WITHOUT.format(away=NETWORK_AWAY, back=NETWORK_BACK),
        variables=SOON,
    ),
    Cell(
        Fault.NETWORK_DIES,
        Moment.CONFIRM,
        (End.NEW_UNREACHABLE,),
        hook=NETWORK_AWAY,
        variables=SOON,
    ),
    Cell(Fault.SMOKE_FAILS, Moment.SMOKE, (End.OLD,), llama="crash", is_quick=True),
    Cell(
        Fault.SMOKE_HANGS,
        Moment.SMOKE,
        (End.OLD,),
        llama="hang",
        variables={"orchestrate_smoke_timeout": 4},
    ),
    *_killed(Fault.CONTROLLER_KILLED, strike.kill_controller),
    *_killed(Fault.WORKER_KILLED, strike.kill_worker),
    *(
        Cell(Fault.SERVER_KILLED, moment, (End.NEW,), strike.kill_server, variables=LATER)
        for moment in (Moment.COPY, Moment.TEST, Moment.SMOKE, Moment.CONFIRM)
    ),
    Cell(Fault.REBOOTED, Moment.COPY, (End.OLD,), strike.cut_the_power),
    Cell(Fault.REBOOTED, Moment.TEST, (End.OLD,), strike.cut_the_power),
    Cell(Fault.REBOOTED, Moment.SMOKE, (End.OLD,), strike.cut_the_power),
    Cell(Fault.REBOOTED, Moment.CONFIRM, (End.NEW,), strike.cut_the_power),
    Cell(Fault.DISK_FULL, Moment.COPY, (End.OLD,), strike.fill_the_disk, is_quick=True),
    # The profile's next generation finds no room; once it is made, nothing needs any.
    Cell(Fault.DISK_FULL, Moment.TEST, (End.OLD,), strike.fill_the_disk, variables=LATER),
    Cell(Fault.DISK_FULL, Moment.SMOKE, (End.OLD,), strike.fill_the_disk, variables=LATER),
    Cell(Fault.DISK_FULL, Moment.CONFIRM, (End.NEW,), strike.fill_the_disk, variables=LATER),
)

MOMENTS = (Moment.COPY, Moment.TEST, Moment.SMOKE, Moment.CONFIRM)


def rows() -> tuple[str, ...]:
    """Render the lines of the table, as Markdown."""
    ends = {(cell.fault, cell.moment): " or ".join(cell.ends) for cell in CELLS}
    head = ("| fault | copy | test | smoke | confirm |", "|---|---|---|---|---|")
    return head + tuple(
        f"| {' | '.join((fault, *(ends.get((fault, moment), '-') for moment in MOMENTS)))} |"
        for fault in Fault
    )
