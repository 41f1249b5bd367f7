"""Paths on their way to a host: what they are, who vouches for them, how they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inventory.host import Become, Host
from orchestrator import nix
from orchestrator.command import elevated
from orchestrator.errors import CommandError, UnreachableError
from orchestrator.hints import hint_for
from orchestrator.model.store import StorePath
from orchestrator.stages.copy_closure.progress import CopyProgress
from orchestrator.stages.copy_closure.signature import Signature
from orchestrator.stages.store_contents import lacking
from orchestrator.transport.forward import Pace
from orchestrator.transport.shell import Shell, SshShell, follow

if TYPE_CHECKING:
    from orchestrator.command import Command, CommandResult
    from orchestrator.model.store import DerivationPath

STAGE = "copy_closure"

MEASURE_SECONDS = 3.0
"""How long a link is measured before it counts as slow."""

SLOW_BYTES_PER_SECOND = 8e6
"""A link that is slower gains from compression: ssh's zlib does some 20 MB/s on one
core, and leaves about half of a store path."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """A store that takes paths: where it is, and how to be someone it trusts.

    Args:
        shell: where it is.
        become: how the login user there becomes root.
        password: for `become`, where it needs one.
    """

    shell: Shell
    become: Become
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Paths on their way to a host.

    Args:
        source: where they are.
        receiver: where they have to be.
        host: the same, as the inventory has it.
        host_key: the same host's key, as `TYPE BASE64`, as we saw it.
        paths: what the host lacks, dependencies first.
        signature: who vouches for them.
        progress: how far they are.
        pace: the budget of what passes through here.
        on_bytes: hears how many bytes have moved so far.
    """

    source: SshShell
    receiver: Receiver
    host: Host
    host_key: str
    paths: tuple[StorePath, ...]
    signature: Signature
    progress: CopyProgress
    pace: Pace
    on_bytes: Callable[[int], None]

    def serve(self) -> Command:
        """Give the command at the receiver that takes what is signed, as root."""
        keys = (self.signature.key,) if self.signature.key else ()
        settings = nix.cache_settings(self.host.caches, *keys)
        command = nix.serve_store(settings, trusted=not self.signature.is_checked)
        return elevated(command, self.receiver.become, self.receiver.password)

    def options(self) -> tuple[str, ...]:
        """Give the options of `nix copy`."""
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
            measured: whether it is given up where the link turns out to be slow.

        Returns:
            None where it was given up.
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


async def missing_paths(
    source: Shell, destination: Shell, paths: tuple[StorePath | DerivationPath, ...]
) -> tuple[StorePath, ...]:
    """Give the paths of the closure that the destination lacks, dependencies first.

    One round trip to each: what the closure is, and what of it is missing.

    Raises:
        CommandError: one of the stores can't be asked.
        PayloadError: one of them answers something else.
    """
    wanted = await source.run(nix.requisites(paths))
    closure = nix.parse_store_paths(wanted.check(STAGE, "its store can't be asked").stdout)
    return await lacking(destination, closure, STAGE)


def copy_failure(source: str, destination: str, blamed: CommandError) -> CommandError:
    """Make the error of a copy: which side failed, what it said, what to do."""
    return CommandError(
        message=f"copying from {source} to {destination} failed on {blamed.host}",
        hint=hint_for("\n".join(blamed.last_lines)) or _AGAIN,
        host=destination,
        stage=STAGE,
        command=blamed.command,
        last_lines=blamed.last_lines,
    )


def copy_cut_off(host: str) -> UnreachableError:
    """Make the error of a copy whose connection to `host` broke."""
    message = f"the connection to {host} broke in the middle of the copy"
    return UnreachableError(message, hint=_AGAIN, host=host, stage=STAGE)


_AGAIN = "run the same command again: what arrived whole is not sent twice"
