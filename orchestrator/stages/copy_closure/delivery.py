"""Paths on their way to a host: what they are, who vouches for them, how they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inventory.host import Host
from orchestrator import nix
from orchestrator.errors import UnreachableError
from orchestrator.model.stage import Stage
from orchestrator.model.store import StorePath
from orchestrator.stages.copy_closure.progress import CopyProgress
from orchestrator.stages.copy_closure.signature import Signature
from orchestrator.stages.store_contents import COPY_AGAIN
from orchestrator.transport.forward import Pace
from orchestrator.transport.shell import SshShell, follow

if TYPE_CHECKING:
    from orchestrator.command import Command, CommandResult


MEASURE_SECONDS = 3.0
"""How long a link is measured before it counts as slow."""

SLOW_BYTES_PER_SECOND = 8e6
"""A link that is slower gains from compression: ssh's zlib does some 20 MB/s on one
core, and leaves about half of a store path."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Paths on their way to a host.

    Args:
        source: where they are.
        target: where they have to be.
        host: the same, as the inventory has it.
        host_key: the same host's key, as `TYPE BASE64`, as we saw it.
        paths: what the host lacks, dependencies first.
        signature: who vouches for them.
        progress: how far they are.
        pace: the budget of what passes through here.
        on_bytes: hears how many bytes have moved so far.
    """

    source: SshShell
    target: SshShell
    host: Host
    host_key: str
    paths: tuple[StorePath, ...]
    signature: Signature
    progress: CopyProgress
    pace: Pace
    on_bytes: Callable[[int], None]

    def serve(self) -> Command:
        """Build the command on the target that takes what is signed, as root."""
        keys = (self.signature.key,) if self.signature.key else ()
        settings = nix.cache_settings(self.host.caches, *keys)
        command = nix.serve_store(settings, trusted=not self.signature.is_checked)
        return self.target.as_root(command)

    def options(self) -> tuple[str, ...]:
        """Return the options of `nix copy`."""
        unchecked = ("--no-check-sigs",) if not self.signature.is_checked else ()
        substituted = ("--substitute-on-destination",) if self.host.caches.substituters else ()
        return (*unchecked, *substituted)

    async def follow(
        self, command: Command, moved: Callable[[], int], *, measured: bool
    ) -> CommandResult | None:
        """Run a `nix copy` at the source, and hear how far it is.

        Args:
            command: prints Nix's log on standard output.
            moved: says how many bytes have.
            measured: whether it is given up if the link turns out to be slow.

        Returns:
            None if it was given up.
        """

        def hear(line: str) -> None:
            self.progress.hear(line)
            self.on_bytes(moved())

        following = asyncio.ensure_future(follow(self.source, command.with_lines(self.paths), hear))
        try:
            wait = MEASURE_SECONDS if measured else None
            done, _ = await asyncio.wait({following}, timeout=wait)
            if not done and 0 < moved() < MEASURE_SECONDS * SLOW_BYTES_PER_SECOND:
                return None
            return await following
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def copy_cut_off(host: str) -> UnreachableError:
    """Make the error of a copy whose connection to `host` broke."""
    message = f"the connection to {host} broke in the middle of the copy"
    return UnreachableError(message, hint=COPY_AGAIN, host=host, stage=Stage.COPY_CLOSURE)
