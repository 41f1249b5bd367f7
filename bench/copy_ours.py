"""Copy a closure from a builder to every target of an inventory, as a run does it.

Run at the controller by `bench.copy`: `python -m bench.copy_ours INVENTORY PATH`.
Logins are part of it, and so is the start of Python.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from inventory.read import read_inventory
from orchestrator.deploy.perform.copy_slots import slots_of
from orchestrator.model.store import StorePath, parse_store_path
from orchestrator.stages.copy_closure.copy_closure import CopyRequest, copy_closure
from orchestrator.stages.copy_closure.source import ClosureSources
from orchestrator.transport.connect import connections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from inventory.host import Host, Inventory
    from orchestrator.model.report import CopyReport
    from orchestrator.stages.copy_closure.copy_closure import Connect
    from orchestrator.transport.connect import ConnectionPool
    from orchestrator.transport.shell import SshShell


async def copy_to_all(fleet: Inventory, path: StorePath) -> list[CopyReport]:
    """Copy a closure to all targets, as many at a time as the inventory says."""
    slots = slots_of(fleet.fleet.copies)
    closure_sources = ClosureSources()
    (builder,) = fleet.builders

    async def one(pool: ConnectionPool, target: Host) -> CopyReport:
        async def connect(*, compressed: bool) -> tuple[SshShell, SshShell]:
            return (
                await pool.shell(builder, compressed=compressed),
                await pool.shell(target, compressed=compressed),
            )

        order = CopyRequest(
            host=target,
            roots=(path,),
            signing_key=None,
            checked=True,
            pace=slots.pace,
            on_bytes=lambda _: None,
        )

        @asynccontextmanager
        async def slot() -> AsyncIterator[tuple[Connect, ...]]:
            async with slots.slot(lambda: {builder.name: slots.at_once}):
                yield ()

        return await copy_closure(connect, order, closure_sources, slot)

    async with connections() as pool:
        return list(await asyncio.gather(*(one(pool, target) for target in fleet.targets)))


def main() -> None:
    """Copy, and print the route that each target's closure took."""
    inventory, path = sys.argv[1:]
    reports = asyncio.run(copy_to_all(read_inventory(Path(inventory)), parse_store_path(path)))
    for report in reports:
        sys.stdout.write(f"{report.route}\n")


if __name__ == "__main__":
    main()
