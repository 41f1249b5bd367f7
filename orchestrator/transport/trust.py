"""Host keys before they are trusted: what a host shows, and what is recorded of it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import asyncssh

from orchestrator.errors import UnreachableError
from orchestrator.model.stage import Stage
from orchestrator.transport.address import (
    asyncssh_options,
    host_pattern,
    known_hosts_file,
    known_hosts_lines,
    recorded_lines,
)

if TYPE_CHECKING:
    from inventory.host import Connection, Host


class KeyState(StrEnum):
    """How a shown key stands to what is recorded."""

    KNOWN = "known"
    NEW = "new"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class ShownKey:
    """The key that a host shows, as a user compares it: type and fingerprint."""

    host: str
    pattern: str
    algorithm: str
    fingerprint: str
    line: str
    state: KeyState


async def shown_key(host: Host) -> ShownKey:
    """Ask a host for its key without logging in; its jump host must be trusted.

    Raises:
        UnreachableError: it can't be asked.
    """
    connection = host.connection
    try:
        async with AsyncExitStack() as stack:
            tunnel = await _tunnel(stack, connection)
            key = await asyncssh.get_server_host_key(
                connection.address, connection.port, tunnel=tunnel, config=None
            )
    except (asyncssh.Error, OSError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise UnreachableError(
            message=f"its host key can't be asked for: {reason}",
            hint="trust its jump host first" if connection.jump else "check that its sshd runs",
            host=host.name,
            stage=Stage.TRUST,
        ) from error
    if key is None:
        raise UnreachableError(message="it shows no host key", host=host.name, stage=Stage.TRUST)
    return ShownKey(
        host=host.name,
        pattern=host_pattern(connection),
        algorithm=key.get_algorithm(),
        fingerprint=key.get_fingerprint(),
        line=key.export_public_key().decode().strip(),
        state=_state(connection, key),
    )


def record_key(connection: Connection, key: ShownKey) -> None:
    """Append a key to the known_hosts file that this connection is checked against."""
    file = known_hosts_file(connection)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as known:
        known.write(f"{key.pattern} {key.line}\n")


async def _tunnel(
    stack: AsyncExitStack, connection: Connection
) -> asyncssh.SSHClientConnection | None:
    if connection.jump is None:
        return None
    known = asyncssh.import_known_hosts(recorded_lines(connection).decode())
    options = asyncssh_options(connection.jump, known)
    return await stack.enter_async_context(asyncssh.connect(**options))


def _state(connection: Connection, key: asyncssh.SSHKey) -> KeyState:
    recorded = asyncssh.import_known_hosts(known_hosts_lines(connection).decode())
    trusted = recorded.match(connection.address, connection.address, connection.port)[0]
    if key in trusted:
        return KeyState.KNOWN
    return KeyState.CHANGED if trusted else KeyState.NEW
