"""The way of a closure from builder to target, without passing through here.

For one copy the builder makes a key, and the target lets it in for one command
alone: a daemon that trusts nobody and checks signatures. The key never leaves the
builder, works for an hour at most, and is forgotten after the copy.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator import nix
from orchestrator.errors import StageError
from orchestrator.model.stage import Stage
from orchestrator.scripts import shipped

if TYPE_CHECKING:
    from orchestrator.command import Command, CommandResult
    from orchestrator.stages.copy_closure.delivery import Delivery

_KEY_SECONDS = 3600
"""For how long the key is let in; a copy that takes longer is connected by then."""


async def direct(delivery: Delivery, *, compressed: bool, measured: bool) -> CommandResult | None:
    """Bring the paths to the host by a connection of the source's own.

    Returns:
        how `nix copy` ended; None where the link is slow and it was given up.

    Raises:
        CommandError: no key can be made, or the host doesn't let it in.
    """
    source, target = delivery.source, delivery.target
    compression = "yes" if compressed else "no"
    connection = delivery.host.connection
    made = await source.run(
        shipped(
            "copy_closure/direct_key.sh",
            delivery.host_key,
            connection.address,
            str(connection.port),
            connection.user,
            compression,
        )
    )
    directory, key = _key(made.check(Stage.COPY_CLOSURE, "the builder can't make a key").stdout)
    try:
        authorized = await target.run(
            shipped("copy_closure/authorize.sh", forced(delivery.serve()), key, str(_KEY_SECONDS))
        )
        authorized.check(Stage.COPY_CLOSURE, "it lets no key in for the copy")
        command = shipped("copy_closure/direct_copy.sh", directory, *nix.COPY, *delivery.options())
        progress = delivery.progress
        return await delivery.follow(command, lambda: progress.moved, measured=measured)
    finally:
        await asyncio.gather(
            source.run(shipped("copy_closure/direct_end.sh", directory)),
            target.run(shipped("copy_closure/revoke.sh", key)),
        )


def forced(command: Command) -> str:
    """Render a command for `command="…"` in authorized_keys: one line, quotes escaped.

    Only for commands whose line breaks are ends of shell commands.
    """
    line = command.line().replace("\n", "; ")
    return line.replace("\\", "\\\\").replace('"', '\\"')


def _key(text: str) -> tuple[str, str]:
    """Read what direct_key.sh prints: a directory, and `TYPE BASE64 COMMENT`.

    Raises:
        StageError: it is something else.
    """
    lines = text.splitlines()
    if len(lines) != 2 or not lines[0].startswith("/tmp/orchestrate-"):  # noqa: PLR2004, S108
        message = f"expected a directory and a key, found {text[:120]!r}"
        raise StageError(message, hint="look at its ssh-keygen", stage=Stage.COPY_CLOSURE)
    return lines[0], " ".join(lines[1].split()[:2])
