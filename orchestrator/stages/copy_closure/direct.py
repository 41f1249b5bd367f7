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
from orchestrator.scripts import answer_of, script

if TYPE_CHECKING:
    from orchestrator.command import Command, CommandResult
    from orchestrator.stages.copy_closure.delivery import Delivery

_ROOM = "stages/copy_closure"

_KEY_SECONDS = 3600
"""For how long the key is let in; a copy that takes longer is connected by then."""


async def direct(delivery: Delivery, *, compressed: bool, measured: bool) -> CommandResult | None:
    """Bring the paths to the host by a connection of the source's own.

    Returns:
        how `nix copy` ended; None if the link is slow and it was given up.

    Raises:
        CommandError: no key can be made, or the host doesn't let it in.
    """
    source, target = delivery.source, delivery.target
    compression = "yes" if compressed else "no"
    connection = delivery.host.connection
    make_key = script(
        f"{_ROOM}/direct_key.sh",
        host_key=delivery.host_key,
        address=connection.address,
        port=str(connection.port),
        user=connection.user,
        compression=compression,
    )
    directory, key = _key(await source.run(make_key))
    try:
        authorize = script(
            f"{_ROOM}/authorize.sh",
            command=forced(delivery.serve()),
            key=key,
            seconds=str(_KEY_SECONDS),
        )
        answer_of(await target.run(authorize), Stage.COPY_CLOSURE, "it lets no key in for the copy")
        arguments = (*nix.COPY, *delivery.options())
        command = script(f"{_ROOM}/direct_copy.sh", *arguments, directory=directory)
        progress = delivery.progress
        return await delivery.follow(command, lambda: progress.moved, measured=measured)
    finally:
        await asyncio.gather(
            source.run(script(f"{_ROOM}/direct_end.sh", directory=directory)),
            target.run(script(f"{_ROOM}/revoke.sh", key=key)),
        )


def forced(command: Command) -> str:
    """Render a command for `command="…"` in authorized_keys: one line, quotes escaped.

    Only for commands whose line breaks are ends of shell commands.
    """
    line = command.line().replace("\n", "; ")
    return line.replace("\\", "\\\\").replace('"', '\\"')


def _key(made: CommandResult) -> tuple[str, str]:
    """Read what direct_key.sh answered: a directory, and a key as `TYPE BASE64`.

    Raises:
        StageError: it made none, or answers something else.
    """
    answer = answer_of(made, Stage.COPY_CLOSURE, "the builder can't make a key")
    directory = answer.one("directory", Stage.COPY_CLOSURE)
    if not directory.startswith("/tmp/orchestrate-"):  # noqa: S108 - where the script makes it
        message = f"expected a directory for a key, found {directory[:120]!r}"
        raise StageError(message, hint="look at its ssh-keygen", stage=Stage.COPY_CLOSURE)
    return directory, answer.one("key", Stage.COPY_CLOSURE)
