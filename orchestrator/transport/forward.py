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
import structlog

from orchestrator.command import CommandResult
from orchestrator.errors import UnreachableError
from orchestrator.transport.shell import CHUNK, LOST, feed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from orchestrator.command import Command
    from orchestrator.transport.shell import Shell, SshShell, Stream

log = structlog.get_logger()

INBOX_BYTES = 4 * 2**20
"""What is held of a client that writes faster than the other host reads."""

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
    """A socket that is served.

    Args:
        path: where it is on the listening host.
        moved: bytes that have gone on to the serving host.
        ends: how the commands ended that served.
    """

    path: str
    moved: int = 0
    ends: list[CommandResult] = field(default_factory=list)

    @property
    def lost(self) -> bool:
        """Whether the connection to the serving host broke."""
        return any(end.returncode == LOST for end in self.ends)


@asynccontextmanager
async def served_socket(
    listening: SshShell,
    serving: tuple[Shell, Command],
    pace: Pace,
    on_bytes: Callable[[int], None],
) -> AsyncIterator[Served]:
    """Have a socket on one host whose every client talks to a command on another.

    The socket is in /tmp under a name that can't be guessed; sshd makes it the login
    user's alone (sshd_config(5), StreamLocalBindMask), and leaves it there: whoever
    uses it removes it. A client that still talks in the end is cut off.

    Args:
        listening: where the socket is.
        serving: where the command runs, once for each client, and the command.
        pace: what goes to the command takes no more than this.
        on_bytes: hears how many bytes have gone to it so far.

    Raises:
        asyncssh.ChannelListenError: sshd there forwards no sockets.
    """
    served = Served(f"/tmp/orchestrate-{secrets.token_hex(16)}")  # noqa: S108 - see above
    talks: list[asyncio.Task[None]] = []

    async def moving(count: int) -> None:
        await pace.take(count)
        served.moved += count
        on_bytes(served.moved)

    async def talk(client: _Client) -> None:
        shell, command = serving
        try:
            async with shell.open(command) as stream:
                await feed(stream, command)
                await _exchange(client, stream, moving)
                served.ends.append(await stream.finish())
        except _BROKEN as error:
            log.warning("a forwarded connection broke", host=shell.host, error=str(error))
        finally:
            client.close()

    def accept() -> _Client:
        client = _Client()
        talks.append(asyncio.ensure_future(talk(client)))
        return client

    listener = await listening.connection.create_unix_server(accept, served.path, encoding=None)
    try:
        yield served
    finally:
        listener.close()
        for one in talks:
            one.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def _exchange(
    client: _Client, stream: Stream, moving: Callable[[int], Awaitable[None]]
) -> None:
    """Pass bytes both ways until the command has no more to say."""

    async def forth() -> None:
        with contextlib.suppress(*_BROKEN):
            while data := await client.read():
                for start in range(0, len(data), CHUNK):
                    part = data[start : start + CHUNK]
                    await moving(len(part))
                    await stream.write(part)
        with contextlib.suppress(*_BROKEN):
            await stream.close_input()

    sending = asyncio.ensure_future(forth())
    try:
        with contextlib.suppress(*_BROKEN):
            while data := await stream.read(CHUNK):
                client.write(data)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


class _Client(asyncssh.SSHUNIXSession[bytes]):
    """A client of the socket, read within bounds.

    asyncssh's own reader isn't: it lets the sender send a whole window more for each
    packet that is taken from a backlog, so that a slow taker's memory grows without
    end (asyncssh 2.24, SSHChannel._deliver_data). Here the backlog is taken whole.
    """

    def __init__(self) -> None:
        self._inbox: list[bytes] = []
        self._size = 0
        self._paused = False
        self._ended = False
        self._changed = asyncio.Event()
        self._channel: asyncssh.SSHUNIXChannel[bytes] | None = None

    def connection_made(self, chan: asyncssh.SSHUNIXChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        del datatype  # a socket has one stream
        self._inbox.append(data)
        self._size += len(data)
        if self._size >= INBOX_BYTES and not self._paused and self._channel is not None:
            self._paused = True
            self._channel.pause_reading()
        self._changed.set()

    def eof_received(self) -> bool:
        self._end()
        # It stays open for what the command still has to say.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # the end says enough
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._changed.set()

    async def read(self) -> bytes:
        """Take all that has come; empty at the end."""
        while not self._inbox and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        data = b"".join(self._inbox)
        self._inbox.clear()
        self._size = 0
        if self._paused and self._channel is not None:
            self._paused = False
            self._channel.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        """Answer; what a daemon answers is small."""
        if self._channel is not None:
            self._channel.write(data)

    def close(self) -> None:
        """Hang up."""
        if self._channel is not None:
            self._channel.close()
