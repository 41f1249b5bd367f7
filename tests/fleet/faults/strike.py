"""What kills a part of a deployment, or takes away what it needs."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from tests.fleet.fleet import kill

if TYPE_CHECKING:
    from tests.fleet.faults.moment import Deploying
    from tests.fleet.fleet import Fleet


def kill_controller(deploying: Deploying) -> None:
    """Kill the command; its worker and its server die of that."""
    kill(deploying.process)


def kill_worker(deploying: Deploying) -> None:
    """Kill the command's worker as the kernel would that is out of memory."""
    (worker,) = deploying.attempt.fleet.pids("tasks.worker")
    os.kill(worker, signal.SIGKILL)


def kill_server(deploying: Deploying) -> None:
    """Kill the private server, and not its keeper."""
    (server,) = servers(deploying.attempt.fleet)
    os.kill(server, signal.SIGKILL)


def servers(fleet: Fleet) -> list[int]:
    """Give the private server's process; the arguments of its keeper name it too."""
    lines = fleet.running().items()
    return [pid for pid, line in lines if line and "valkey-server" in line.split()[0]]


def cut_the_power(deploying: Deploying) -> None:
    """Have the target lose power in mid-step, without a word to anybody, and come up again."""
    host = deploying.attempt.host
    host.cut()
    host.power_cut()
    host.restore()
    host.boot()


def fill_the_disk(deploying: Deploying) -> None:
    """Leave no byte free in the target's store."""
    deploying.attempt.host.fill_store()
