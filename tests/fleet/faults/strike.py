"""What kills a part of a deployment, or takes away what it needs."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.fleet.cluster import cluster, kill_workers
from tests.fleet.fleet import kill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fleet.faults.moment import Deploying
    from tests.fleet.fleet import Fleet


def kill_controller(deploying: Deploying) -> None:
    """Kill the command; its server ends because of that."""
    kill(deploying.process)


def kill_worker(deploying: Deploying) -> None:
    """Kill the cluster's worker; its keeper starts another one."""
    kill_workers(deploying.attempt.fleet)


@contextmanager
def can_strike(
    struck: Callable[[Deploying], None] | None, fleet: Fleet, directory: Path
) -> Iterator[Fleet]:
    """Yield the fleet as it is deployed to where this is to strike: only a cluster has workers."""
    if struck is kill_worker:
        with cluster(fleet, directory) as shared:
            yield shared
    else:
        yield fleet


def kill_server(deploying: Deploying) -> None:
    """Kill the private server, and not its keeper."""
    (server,) = servers(deploying.attempt.fleet)
    os.kill(server, signal.SIGKILL)


def servers(fleet: Fleet) -> list[int]:
    """Return the private server's process; the arguments of its keeper name it too."""
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
