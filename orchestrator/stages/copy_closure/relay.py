"""The way of a closure through this process, over connections that are open already.

The builder's `nix copy` writes to a socket that leads, through here, to a daemon
on the target: Nix's own protocol asks for what is missing in one round trip and
sends all of it in one stream, so that a long way costs no more than a short one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncssh

from orchestrator import nix
from orchestrator.errors import StageError
from orchestrator.model.stage import Stage
from orchestrator.scripts import script
from orchestrator.stages.copy_closure.delivery import copy_cut_off
from orchestrator.transport.forward import served_socket

if TYPE_CHECKING:
    from orchestrator.command import CommandResult
    from orchestrator.stages.copy_closure.delivery import Delivery


async def relay(
    delivery: Delivery,
    *,
    compressed: bool,  # noqa: ARG001 - the delivery's connections do that
    measured: bool,
) -> CommandResult | None:
    """Bring the paths to the host through this process.

    Returns:
        how `nix copy` ended; None if the link is slow and it was given up.

    Raises:
        UnreachableError: the connection to the host broke.
        StageError: the source's sshd forwards no sockets.
    """
    source, target = delivery.source, delivery.target
    try:
        async with served_socket(
            source, (target, delivery.serve()), delivery.pace, delivery.on_bytes
        ) as served:
            arguments = (*nix.COPY, *delivery.options())
            name = "stages/copy_closure/relayed_copy.sh"
            command = script(name, *arguments, socket=served.path)
            result = await delivery.follow(command, lambda: served.moved, measured=measured)
    except asyncssh.ChannelListenError as error:
        raise StageError(
            message=f"sshd on {source.host} forwards no sockets: {error}",
            hint="set AllowStreamLocalForwarding there, or let builder and target reach each"
            " other (orchestrate_copy_route: direct)",
            host=source.host,
            stage=Stage.COPY_CLOSURE,
        ) from error
    if result is None or result.returncode == 0:
        return result
    if served.lost:
        raise copy_cut_off(target.host)
    for end in served.ends:
        # What the daemon can't say through the protocol, it says before it ends.
        for line in end.stderr.splitlines():
            delivery.progress.hear(line)
    return result
