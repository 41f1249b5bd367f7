"""What machines say of their own disks, for a flake that is written for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestrateError, PayloadError
from orchestrator.scripts import program
from orchestrator.transport.connect import connections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Host
    from orchestrator.transport.connect import ConnectionPool

_TIMEOUT = 60.0
_LONGEST = 64 * 1024


async def hardware_of(hosts: Sequence[Host]) -> dict[str, str | OrchestrateError]:
    """Ask each host for its hardware configuration, all at once.

    It is what nixos-generate-config --show-hardware-config prints: a NixOS module with
    file systems, kernel modules and platform.

    Returns:
        the module's text for each host, or why there is none.
    """

    async def one(pool: ConnectionPool, host: Host) -> str | OrchestrateError:
        asked = program("nixos-generate-config", "--show-hardware-config", timeout=_TIMEOUT)
        try:
            shell = await pool.shell(host)
            done = await shell.run_as_root(asked)
            text = done.check("init", "its hardware configuration can't be read").stdout
        except OrchestrateError as error:
            return error
        if "fileSystems" not in text or len(text) > _LONGEST:
            return PayloadError(
                "its nixos-generate-config names no file systems", host=host.name, stage="init"
            )
        return text

    async with connections() as pool:
        answers = await asyncio.gather(*(one(pool, host) for host in hosts))
    return {host.name: answer for host, answer in zip(hosts, answers, strict=True)}
