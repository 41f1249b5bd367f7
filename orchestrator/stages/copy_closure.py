"""Copy a closure from one store to another: only what is missing, on open connections.

The stream that `nix-store --export` writes goes through this process into
`nix-store --import`: it enters no store on the way, needs no further login, and
works between any two machines that we can reach. The receiving side checks the
hash of every path; it must run as a user its Nix trusts, which is root here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inventory.host import Become
from orchestrator import nix
from orchestrator.command import elevated
from orchestrator.errors import CommandError
from orchestrator.hints import hint_for
from orchestrator.model.report import CopyReport
from orchestrator.transport.shell import Shell, pipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.model.store import DerivationPath, StorePath

STAGE = "copy_closure"


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


async def copy_closure(
    source: Shell,
    receiver: Receiver,
    paths: tuple[StorePath | DerivationPath, ...],
    on_bytes: Callable[[int], None],
) -> CopyReport:
    """Make `paths` and everything they need valid at the receiver.

    Asked in one round trip each: what the closure is, and what of it is missing.
    Interrupted, it can be run again: paths that arrived whole are there.

    Args:
        source: where the closure is.
        receiver: where it has to be.
        paths: the roots of the closure.
        on_bytes: hears how many bytes have moved so far.

    Raises:
        CommandError: one of the two sides failed.
    """
    destination = receiver.shell
    missing = await missing_paths(source, destination, paths)
    moved = 0
    for start in range(0, len(missing), nix.EXPORT_PATHS):
        before = moved

        def progress(count: int, before: int = before) -> None:
            nonlocal moved
            moved = before + count
            on_bytes(moved)

        part = missing[start : start + nix.EXPORT_PATHS]
        receive = elevated(nix.import_stream(), receiver.become, receiver.password)
        sent, received = await pipe((source, nix.export(part)), (destination, receive), progress)
        if sent.returncode or received.returncode:
            raise _copy_failed(sent.failure(STAGE), received.failure(STAGE), source, destination)
    route = f"{source.host} → controller → {destination.host}"
    return CopyReport(
        destination.host, len(missing), moved, route if missing else "nothing to copy"
    )


async def missing_paths(
    source: Shell, destination: Shell, paths: tuple[StorePath | DerivationPath, ...]
) -> tuple[StorePath, ...]:
    """Give the paths of the closure that the destination lacks, dependencies first.

    Raises:
        CommandError: one of the stores can't be asked.
        PayloadError: one of them answers something else.
    """
    wanted = await source.run(nix.requisites(paths))
    closure = nix.parse_store_paths(wanted.check(STAGE, "its store can't be asked").stdout)
    asked = await destination.run(nix.invalid_among(closure))
    lacking = set(nix.parse_store_paths(asked.check(STAGE, "its store can't be asked").stdout))
    return tuple(path for path in closure if path in lacking)


def _copy_failed(
    sent: CommandError, received: CommandError, source: Shell, destination: Shell
) -> CommandError:
    """Blame the side that said something: the other one only saw the stream end."""
    blamed = received if received.last_lines else sent
    return CommandError(
        message=f"copying from {source.host} to {destination.host} failed on {blamed.host}",
        hint=hint_for("\n".join((*sent.last_lines, *received.last_lines)))
        or "run the same command again: what arrived whole is not sent twice",
        host=destination.host,
        stage=STAGE,
        command=blamed.command,
        last_lines=blamed.last_lines,
    )
