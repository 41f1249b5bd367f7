"""A socket on one host that a command on another one serves, through this process.

What a program on the first host writes to the socket, the command on the second
one reads, and the other way round: two hosts that don't know each other talk over
the two connections that are open already.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncssh

from orchestrator.command import CommandResult
from orchestrator.errors import UnreachableError
from orchestrator.transport.shell import CHUNK, LOST, feed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.command import Command
    from orchestrator.transport.shell import Shell, SshShell, Stream

_BROKEN = (BrokenPipeError, ConnectionResetError, asyncssh.Error, UnreachableError)


@dataclass(slots=True)
class Pace:
    """A budget of bytes per second that several transfers share; None for no limit."""

    bytes_per_second: float | None = None
    _free_at: float = field(default=0.0, init=False)

    async def take(self, count: int) -> None:
        """Wait until `count` bytes more are within the budget."""
        if self.bytes_per_second is None:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now) + count / self.bytes_per_second
        await asyncio.sleep(self._free_at - now)


@dataclass(slots=True)
class Served:
    """A socket that is served: its path on the listening host, how its servers ended."""

    path: str
    ends: list[CommandResult] = field(default_factory=list)

    @property
    def lost(self) -> bool:
        """Whether the connection to the serving host broke."""
        return any(end.returncode == LOST for end in self.ends)


@asynccontextmanager
async def served_socket(
    listening: SshShell, serving: Shell, command: Command, pace: Pace
) -> AsyncIterator[Served]:
    """Have a socket on one host whose every client talks to `command` on another.

    The socket is in /tmp under a name that can't be guessed; sshd makes it the login
    user's alone (sshd_config(5), StreamLocalBindMask), and leaves it there: whoever
    uses it removes it.

    Args:
        listening: where the socket is.
        serving: where the command runs, once for each client.
        command: reads what a client writes, and writes what it reads.
        pace: what goes to the command takes no more than this.

    Raises:
        asyncssh.ChannelListenError: sshd there forwards no sockets.
    """
    served = Served(f"/tmp/orchestrate-{secrets.token_hex(16)}")  # noqa: S108 - see above

    async def handle(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
        with contextlib.suppress(*_BROKEN):
            async with serving.open(command) as stream:
                await feed(stream, command)
                await _exchange(reader, writer, stream, pace)
                served.ends.append(await stream.finish())
        with contextlib.suppress(*_BROKEN):
            writer.close()

    listener = await listening.connection.start_unix_server(
        lambda: handle, served.path, encoding=None
    )
    try:
        yield served
    finally:
        listener.close()


async def _exchange(
    reader: asyncssh.SSHReader[bytes],
    writer: asyncssh.SSHWriter[bytes],
    stream: Stream,
    pace: Pace,
) -> None:
    """Pass bytes both ways until the command has no more to say."""

    async def forth() -> None:
        with contextlib.suppress(*_BROKEN):
            while data := await reader.read(CHUNK):
                await pace.take(len(data))
                await stream.write(data)
        with contextlib.suppress(*_BROKEN):
            await stream.close_input()

    sending = asyncio.ensure_future(forth())
    try:
        with contextlib.suppress(*_BROKEN):
            while data := await stream.read(CHUNK):
                writer.write(data)
                await writer.drain()
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
