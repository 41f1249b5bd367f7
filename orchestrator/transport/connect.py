"""Open ssh connections to many hosts at once, on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from inventory.host import Connection, Host, HostKeyPolicy
from orchestrator.command import Command
from orchestrator.errors import UnreachableError
from orchestrator.model.stage import Stage
from orchestrator.transport.address import (
    accepts_new,
    asyncssh_options,
    host_pattern,
    known_hosts_file,
    known_hosts_lines,
    openssh_argv,
    recorded_lines,
)
from orchestrator.transport.become import Privilege
from orchestrator.transport.shell import SshShell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from asyncssh import SSHClientConnection, SSHKey
    from asyncssh.known_hosts import SSHKnownHosts


_Key = tuple[str, Connection, bool]
"""A host's name isn't enough: a worker serves the inventories of several commands."""


@dataclass
class ConnectionPool:
    """One connection a host, opened when first asked for and shared after that.

    Connections are the budget of a deployment: a login costs a small controller
    tens of milliseconds of processor time, a channel on an open one nearly none.
    """

    _shells: dict[_Key, SshShell] = field(default_factory=dict)
    _locks: dict[_Key, asyncio.Lock] = field(default_factory=dict)

    async def shell(self, host: Host, *, compressed: bool = False) -> SshShell:
        """Return a shell on `host`.

        Args:
            host: where.
            compressed: whether its connection compresses, which is another one.

        Raises:
            UnreachableError: it doesn't answer, or isn't who it should be.
        """
        key = (host.name, host.connection, compressed)
        async with self._locks.setdefault(key, asyncio.Lock()):
            shell = self._shells.get(key)
            if shell is None or shell.connection.is_closed():
                opened = await connect(host, compressed=compressed)
                shell = SshShell(host.name, opened, Privilege(host))
                self._shells[key] = shell
            return shell

    async def drop(self, host: Host) -> None:
        """Forget the connections to `host`: the next shell is a new login."""
        for compressed in (False, True):
            if shell := self._shells.pop((host.name, host.connection, compressed), None):
                shell.connection.abort()

    async def close(self) -> None:
        """Close every connection."""
        shells = tuple(self._shells.values())
        self._shells.clear()
        for shell in shells:
            shell.connection.close()
        for shell in shells:
            with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
                await asyncio.wait_for(shell.connection.wait_closed(), 2)


@asynccontextmanager
async def connections() -> AsyncIterator[ConnectionPool]:
    """Hold a pool open and close what it opened."""
    pool = ConnectionPool()
    try:
        yield pool
    finally:
        await pool.close()


async def connect(host: Host, *, compressed: bool = False) -> SSHClientConnection:
    """Log in to `host`, through its jump host if it has one.

    Raises:
        UnreachableError: with what ssh said and a line to try by hand.
    """
    try:
        async with asyncio.timeout(host.connection.connect_timeout):
            return await _connect(host.connection, compressed=compressed)
    except asyncssh.HostKeyNotVerifiable as error:
        raise _unreachable(
            host, f"its host key is not trusted: {error.reason}", _KEY_HINT
        ) from error
    except asyncssh.PermissionDenied as error:
        hint = "check ansible_user and ansible_ssh_private_key_file"
        raise _unreachable(host, f"it refuses the login: {error.reason}", hint) from error
    except TimeoutError as error:
        waited = f"no answer within {host.connection.connect_timeout:g} seconds"
        raise _unreachable(host, waited, "check that it is on and its network is up") from error
    except (asyncssh.Error, OSError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise _unreachable(host, f"no connection: {reason}", _ADDRESS_HINT) from error


_KEY_HINT = "compare its key with the machine's and record it: orchestrate trust"
_ADDRESS_HINT = "check ansible_host and ansible_port, and that sshd runs there"


async def _connect(connection: Connection, *, compressed: bool) -> SSHClientConnection:
    tunnel = None
    if connection.jump is not None:
        recording = connection.host_key_policy is HostKeyPolicy.ACCEPT_NEW
        tunnel = await asyncssh.connect(
            **asyncssh_options(connection.jump, _known(recorded_lines(connection))),
            client_factory=_client(connection, recording=recording),
        )
    try:
        opened = await asyncssh.connect(
            **asyncssh_options(connection, _known(known_hosts_lines(connection))),
            tunnel=tunnel or (),
            compression_algs=["zlib@openssh.com", "none"] if compressed else ["none"],
            client_factory=_client(connection, recording=accepts_new(connection)),
        )
    except BaseException:
        if tunnel is not None:
            tunnel.close()
        raise
    if tunnel is not None:
        _close_together(opened, tunnel)
    return opened


def _known(lines: bytes) -> SSHKnownHosts:
    return asyncssh.import_known_hosts(lines.decode())


def _client(connection: Connection, *, recording: bool) -> Callable[[], asyncssh.SSHClient] | None:
    recorder = _KeyRecorder(known_hosts_file(connection))
    return (lambda: _AcceptNew(recorder)) if recording else None


def _close_together(opened: SSHClientConnection, tunnel: SSHClientConnection) -> None:
    async def wait() -> None:
        await opened.wait_closed()
        tunnel.close()

    # The loop holds only a weak reference to a task; the connection keeps it.
    opened.set_extra_info(tunnel_closer=asyncio.ensure_future(wait()))


@dataclass(frozen=True, slots=True)
class _KeyRecorder:
    file: Path

    def record(self, host: str, addr: str, port: int, key: SSHKey) -> bool:
        """Append a first-seen key; refuse when the host has another one."""
        pattern = host_pattern(Connection(address=host, port=port))
        recorded = self.file.read_text() if self.file.is_file() else ""
        # asyncssh does the matching: Debian's ssh hashes the names in the file.
        if any(asyncssh.import_known_hosts(recorded).match(host, addr, port)):
            return False
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.file.open("a") as known:
            known.write(f"{pattern} {key.export_public_key().decode().strip()}\n")
        return True


class _AcceptNew(asyncssh.SSHClient):
    """OpenSSH's `StrictHostKeyChecking accept-new`, which asyncssh has no option for."""

    def __init__(self, recorder: _KeyRecorder) -> None:
        self._recorder = recorder

    def validate_host_public_key(self, host: str, addr: str, port: int, key: SSHKey) -> bool:
        return self._recorder.record(host, addr, port, key)


def _unreachable(host: Host, message: str, hint: str) -> UnreachableError:
    return UnreachableError(
        message=message,
        hint=hint,
        host=host.name,
        stage=Stage.CONNECT,
        command=Command(("ssh", *openssh_argv(host.connection))).line(),
    )
