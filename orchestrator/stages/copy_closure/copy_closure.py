"""Copy a closure from one store to another: only what is missing, signed, resumable.

The builder signs what its target lacks, and runs `nix copy`; on the target a
daemon that trusts nobody but the keys it is given checks each signature and adds
path after path, so that an interrupted copy goes on where it was. Builder and
target talk directly if they reach each other, otherwise over the two connections
that are open here already. What a cache of the target has comes from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from inventory.copying import Compression, CopyRoute
from inventory.host import Host
from orchestrator.errors import CommandError, OrchestrateError
from orchestrator.model.report import CopyReport
from orchestrator.model.stage import Stage
from orchestrator.model.store import StorePath
from orchestrator.stages.copy_closure.delivery import (
    Delivery,
    copy_cut_off,
)
from orchestrator.stages.copy_closure.direct import direct
from orchestrator.stages.copy_closure.progress import CopyProgress
from orchestrator.stages.copy_closure.relay import relay
from orchestrator.stages.copy_closure.signature import Signature, check_pinned
from orchestrator.stages.store_contents import (
    check_on_disk,
    copy_failure,
    lacking,
    looks_lacking,
)
from orchestrator.transport.forward import Pace
from orchestrator.transport.shell import LOST

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from orchestrator.command import CommandResult
    from orchestrator.model.closure import PathInfo
    from orchestrator.stages.copy_closure.source import ClosureSource, ClosureSources
    from orchestrator.transport.shell import SshShell

DIRECT_BYTES = 32 * 2**20
"""Below this the half second that a direct login takes is longer than the way around."""

WORTH_MEASURING = 16 * 2**20
"""Below this a copy is over before its link is known."""


class Route(Protocol):
    """A way that paths can take; None if it was measured and is slow."""

    async def __call__(
        self, delivery: Delivery, *, compressed: bool, measured: bool
    ) -> CommandResult | None:
        """Bring the paths to their host."""
        ...


class Connect(Protocol):
    """How a copy gets its two ends: the one that has the paths, the one that lacks them."""

    async def __call__(self, *, compressed: bool) -> tuple[SshShell, SshShell]:
        """Return both ends, on connections that compress or on those that are open."""
        ...


class Slot(Protocol):
    """How a copy gets its turn, and its peers: hosts that may have a part of the paths."""

    def __call__(self) -> AbstractAsyncContextManager[tuple[Connect, ...]]:
        """Wait for the turn; the copy is over when the context is left."""
        ...


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """What a host is to get.

    Args:
        host: who gets it.
        roots: paths whose closures have to be there.
        signing_key: the key that the inventory pins for the builder.
        checked: whether the host takes only what is signed.
        pace: the budget of what passes through here.
        on_bytes: hears how many bytes have moved so far.
    """

    host: Host
    roots: tuple[StorePath, ...]
    signing_key: str | None
    checked: bool
    pace: Pace
    on_bytes: Callable[[int], None]


async def copy_closure(
    connect: Connect, request: CopyRequest, closure_sources: ClosureSources, slot: Slot
) -> CopyReport:
    """Make the request's roots and everything they need valid at its host.

    Asked in one round trip each: what the closure is, and what of it is missing.
    Interrupted, it can be run again: paths that arrived whole are there.

    Where a root's files are missing, what else is there as files is taken to be
    valid, and Nix at the host isn't started to say so: the copy itself fails if
    it isn't, and then it is.

    Args:
        connect: the builder that has all of it, and the host.
        request: what the host is to get.
        closure_sources: the builders, as copies to other hosts ask them too.
        slot: the turn of what travels, and others that may have a part of it, each
            with the host; what they can't give comes from the builder. All that is
            asked before is asked without it, so that hosts are asked for together.

    Raises:
        UnreachableError: a connection broke.
        OrchestrateError: one of the two sides failed.
    """
    source, target = await connect(compressed=False)
    closure_source = closure_sources.at(source)
    closure = await closure_source.closure(request.roots)
    paths = tuple(info.path for info in closure)
    missing = await looks_lacking(target, paths, Stage.COPY_CLOSURE)
    if missing and set(request.roots) <= set(missing):
        try:
            return await _bring(connect, request, closure_source, _those(closure, missing), slot)
        except CommandError:
            missing, assumed = await lacking(target, paths, Stage.COPY_CLOSURE), set(missing)
            if assumed.issuperset(missing):
                raise
    else:
        suspect, missing = missing, await lacking(target, paths, Stage.COPY_CLOSURE)
        await check_on_disk(target, tuple(path for path in suspect if path not in missing))
    if not missing:
        return CopyReport(request.host.name, 0, 0, "nothing to copy")
    return await _bring(connect, request, closure_source, _those(closure, missing), slot)


def _those(closure: tuple[PathInfo, ...], paths: tuple[StorePath, ...]) -> tuple[PathInfo, ...]:
    """Return what of a closure is among some paths."""
    wanted = set(paths)
    return tuple(info for info in closure if info.path in wanted)


async def _bring(
    connect: Connect,
    request: CopyRequest,
    closure_source: ClosureSource,
    missing: tuple[PathInfo, ...],
    slot: Slot,
) -> CopyReport:
    """Have what is missing signed, and bring it by the ways that there are."""
    signature = await _vouched(closure_source, request, missing)
    async with slot() as peers:
        # The turn may have been long in coming: a connection that broke is opened anew.
        source, target = await connect(compressed=False)
        delivery = Delivery(
            source=source,
            target=target,
            host=request.host,
            host_key=target.host_key,
            paths=tuple(info.path for info in missing),
            signature=signature,
            progress=CopyProgress(),
            pace=request.pace,
            on_bytes=request.on_bytes,
        )
        routes = [await _from_peer(peer, delivery) for peer in peers]
        routes.append(await _deliver(connect, delivery))
        # Nix sends nothing that the target's database has, whatever is left of its files.
        await check_on_disk(target, delivery.paths)
    progress = delivery.progress
    if (elsewhere := len(missing) - progress.paths) > 0:
        routes.append(f"{elsewhere} paths from its caches")
    route = ", ".join(filter(None, routes))
    return CopyReport(request.host.name, progress.paths, progress.moved, route)


async def _vouched(
    closure_source: ClosureSource, request: CopyRequest, missing: tuple[PathInfo, ...]
) -> Signature:
    """Weigh what is going to travel, and have it signed if the target checks.

    Raises:
        CommandError: the builder can't.
        StageError: it signs with another key than the pinned one.
    """
    nbytes = sum(info.size for info in missing)
    if not request.checked:
        return Signature(nbytes, None)
    key = await closure_source.sign(tuple(info.path for info in missing))
    check_pinned(closure_source.shell.host, key, request.signing_key)
    return Signature(nbytes, key)


async def _from_peer(connect: Connect, delivery: Delivery) -> str:
    """Let a host that has a part of the paths give it; nothing is lost if it can't."""
    try:
        peer, _ = await connect(compressed=False)
        absent = set(await lacking(peer, delivery.paths, Stage.COPY_CLOSURE))
        there = tuple(path for path in delivery.paths if path not in absent)
        if not there:
            return ""
        return await _deliver(connect, replace(delivery, source=peer, paths=there))
    except OrchestrateError:
        return ""


async def _deliver(connect: Connect, delivery: Delivery) -> str:
    """Bring the paths to the host by the best way that works; say which it was."""
    source, target = delivery.source.host, delivery.host.name
    way = f"{source} → controller → {target}"
    if wants_direct(delivery):
        try:
            compressed = await _compressed_where_slow(connect, delivery, direct)
        except OrchestrateError as error:
            if delivery.host.copying.route is CopyRoute.DIRECT:
                raise
            why = error.last_lines[-1] if error.last_lines else error.message
            way = f"{way} ({source} doesn't reach it: {why[:80]})"
        else:
            return f"{source} → {target}{compressed}"
    delivery.progress.recent.clear()
    return f"{way}{await _compressed_where_slow(connect, delivery, relay)}"


def wants_direct(delivery: Delivery) -> bool:
    """Decide whether builder and target should try to talk directly. Pure.

    Not through a jump host, which only we know how to pass, and not if root
    needs a password, which only we may know.
    """
    route = delivery.host.copying.route
    if route is not CopyRoute.AUTO:
        return route is CopyRoute.DIRECT
    in_the_way = (
        delivery.host.connection.jump is not None or delivery.target.privilege.needs_password
    )
    return not in_the_way and delivery.signature.nbytes >= DIRECT_BYTES


async def _compressed_where_slow(connect: Connect, delivery: Delivery, route: Route) -> str:
    """Copy as the inventory says, or begin without compression and measure.

    Gives what to say of it: nothing, or that it was compressed.
    """
    compression = delivery.host.copying.compression
    if compression is not Compression.ALWAYS:
        auto = compression is Compression.AUTO
        measured = auto and delivery.signature.nbytes >= WORTH_MEASURING
        result = await route(delivery, compressed=False, measured=measured)
        if result is not None:
            _check(delivery, result)
            return ""
    if route is relay:
        source, target = await connect(compressed=True)
        delivery = replace(delivery, source=source, target=target)
    result = await route(delivery, compressed=True, measured=False)
    if result is not None:
        _check(delivery, result)
    return ", compressed"


def _check(delivery: Delivery, result: CommandResult) -> None:
    """Raise what went wrong with a copy, if anything did."""
    if result.returncode == 0:
        return
    if result.returncode == LOST:
        raise copy_cut_off(result.host)
    blamed = CommandError(
        message="",
        host=result.host,
        command=f"nix copy --to ssh-ng://{delivery.host.name} {delivery.paths[-1]}",
        last_lines=tuple(delivery.progress.recent),
    )
    raise copy_failure(delivery.source.host, delivery.host.name, blamed)
