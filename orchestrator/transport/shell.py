"""A place where commands run: this machine, or a host over ssh.

`Shell` is what the stages see. `LocalShell` and `SshShell` are its two
implementations; `pipe` joins a command on one to a command on the other without
anything touching a disk in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import asyncssh

from orchestrator.command import Command, CommandResult
from orchestrator.errors import CommandError, UnreachableError
from orchestrator.transport.become import Privilege

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CHUNK = 256 * 1024
"""Bytes moved at a time between two commands."""

TIMED_OUT = 124
"""The exit code reported for a command that was killed for its timeout, as timeout(1)."""

LOST = 255
"""The exit code reported when the connection broke under a command, as ssh(1)."""

_BROKEN = (BrokenPipeError, ConnectionResetError, asyncssh.Error)
"""What a stream raises when its other end is gone."""


class Stream(Protocol):
    """A running command seen from outside: its bytes and its end."""

    async def read(self, size: int) -> bytes:
        """Read up to `size` bytes of standard output; empty at its end."""
        ...

    async def write(self, data: bytes) -> None:
        """Write to standard input, waiting while the other side is slower."""
        ...

    async def close_input(self) -> None:
        """End standard input."""
        ...

    def stop(self) -> None:
        """End the command now, where nobody wants the rest of it."""
        ...

    async def finish(self) -> CommandResult:
        """Wait for the end; what was read already is not in the result's stdout."""
        ...


class Shell(Protocol):
    """Somewhere commands run."""

    @property
    def host(self) -> str:
        """The inventory name, or `controller` for this machine."""
        ...

    async def run(self, command: Command) -> CommandResult:
        """Run to the end and collect what it prints."""
        ...

    def open(self, command: Command) -> AbstractAsyncContextManager[Stream]:
        """Start with both ends open; leaving the context kills what still runs."""
        ...

    def as_root(self, command: Command) -> Command:
        """Return the command that runs as root here.

        Raises:
            UsageError: the password for it can't be read.
        """
        ...

    async def run_as_root(self, command: Command) -> CommandResult:
        """Run as root to the end.

        Raises:
            UsageError: the password for it can't be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalShell:
    """Commands on this machine."""

    host: str = "controller"

    def as_root(self, command: Command) -> Command:
        """Return the command itself: on this machine nobody becomes somebody else."""
        return command

    async def run_as_root(self, command: Command) -> CommandResult:
        """Run as who this process is."""
        return await self.run(command)

    async def run(self, command: Command) -> CommandResult:
        """Run to the end; a timeout kills the whole process group."""
        async with self.open(command) as stream:
            try:
                async with asyncio.timeout(command.timeout):
                    await feed(stream, command)
                    await stream.close_input()
                    return await stream.finish()
            except TimeoutError:
                return _timed_out(command, self.host)

    @asynccontextmanager
    async def open(self, command: Command) -> AsyncIterator[Stream]:
        """Start a child in its own session, so that it can be killed whole."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **dict(command.environment)},
                start_new_session=True,
                limit=CHUNK,
            )
        except OSError as error:
            raise CommandError(
                message=f"{command.argv[0]} can't be started here: {error.strerror}",
                hint=f"install {command.argv[0]} or put it on PATH",
                host=self.host,
                command=command.line(),
            ) from error
        assert process.stderr is not None  # noqa: S101 - created with PIPE above
        # Read from the start: a child that fills this pipe would stand still.
        stderr = asyncio.create_task(process.stderr.read())
        stream = _LocalStream(command, self.host, process, stderr)
        try:
            yield stream
        finally:
            if process.returncode is None:
                stream.stop()
                await process.wait()


@dataclass(frozen=True, slots=True)
class _LocalStream:
    command: Command
    host: str
    process: asyncio.subprocess.Process
    stderr: asyncio.Task[bytes]

    async def read(self, size: int) -> bytes:
        assert self.process.stdout is not None  # noqa: S101 - created with PIPE above
        return await self.process.stdout.read(size)

    async def write(self, data: bytes) -> None:
        assert self.process.stdin is not None  # noqa: S101 - created with PIPE above
        self.process.stdin.write(data)
        await self.process.stdin.drain()

    async def close_input(self) -> None:
        assert self.process.stdin is not None  # noqa: S101 - created with PIPE above
        self.process.stdin.close()

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def finish(self) -> CommandResult:
        assert self.process.stdout is not None  # noqa: S101 - created with PIPE above
        stdout = await self.process.stdout.read()
        stderr = await self.stderr
        return _result(self.command, self.host, await self.process.wait(), stdout, stderr)


@dataclass(frozen=True, slots=True)
class SshShell:
    """Commands on a host, each a channel of one connection."""

    host: str
    connection: asyncssh.SSHClientConnection
    privilege: Privilege

    def as_root(self, command: Command) -> Command:
        """Return the command with the program in front that the inventory names."""
        return self.privilege.elevate(command)

    async def run_as_root(self, command: Command) -> CommandResult:
        """Run as root, the way the inventory says."""
        return await self.run(self.as_root(command))

    @property
    def host_key(self) -> str:
        """The key that the host has shown, and that was checked, as `TYPE BASE64`."""
        shown = self.connection.get_server_host_key()
        assert shown is not None  # noqa: S101 - an open connection has one
        return " ".join(shown.export_public_key().decode().split()[:2])

    async def run(self, command: Command) -> CommandResult:
        """Run to the end; a broken connection is exit code 255, as ssh(1) has it."""
        try:
            async with asyncio.timeout(command.timeout):
                done = await self.connection.run(
                    command.line(), input=command.stdin or b"", encoding=None
                )
        except TimeoutError:
            return _timed_out(command, self.host)
        except (asyncssh.Error, OSError) as error:
            return CommandResult(command, self.host, LOST, "", f"connection lost: {error}")
        return _result(command, self.host, done.returncode, done.stdout, done.stderr)

    @asynccontextmanager
    async def open(self, command: Command) -> AsyncIterator[Stream]:
        """Start a channel; leaving the context closes it, which ends the command."""
        try:
            process = await self.connection.create_process(command.line(), encoding=None)
        except (asyncssh.Error, OSError) as error:
            raise UnreachableError(
                message=f"connection lost: {error}",
                hint="check that it is on and its network is up",
                host=self.host,
                command=command.line(),
            ) from error
        try:
            yield _SshStream(command, self.host, process)
        finally:
            process.close()


@dataclass(frozen=True, slots=True)
class _SshStream:
    command: Command
    host: str
    process: asyncssh.SSHClientProcess[bytes]

    async def read(self, size: int) -> bytes:
        try:
            return await self.process.stdout.read(size)
        except (asyncssh.Error, OSError):
            # The connection is gone: `finish` says so, as for any other end.
            return b""

    async def write(self, data: bytes) -> None:
        self.process.stdin.write(data)
        await self.process.stdin.drain()

    async def close_input(self) -> None:
        self.process.stdin.write_eof()

    def stop(self) -> None:
        self.process.close()

    async def finish(self) -> CommandResult:
        try:
            done = await self.process.wait(check=False)
        except (asyncssh.Error, OSError) as error:
            said = f"connection lost: {error}"
            return CommandResult(self.command, self.host, LOST, "", said)
        return _result(self.command, self.host, done.returncode, done.stdout, done.stderr)


async def follow(shell: Shell, command: Command, on_line: Callable[[str], None]) -> CommandResult:
    """Run a command and hand over each line of its output as it comes, as it is.

    Returns:
        the result, with an empty stdout: the lines were handed over.
    """
    async with shell.open(command) as stream:
        await feed(stream, command)
        await stream.close_input()
        rest = b""
        while data := await stream.read(CHUNK):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                on_line(line.decode(errors="replace").rstrip("\r"))
        if rest:
            on_line(rest.decode(errors="replace"))
        return await stream.finish()


async def pipe(
    source: tuple[Shell, Command],
    destination: tuple[Shell, Command],
    on_bytes: Callable[[int], None],
) -> tuple[CommandResult, CommandResult]:
    """Feed one command's output to another's input, wherever the two run.

    `on_bytes` hears the total moved so far. Both results come back: the reader
    can fail while the writer succeeds, and the other way round.
    """
    moved = 0
    async with source[0].open(source[1]) as reader, destination[0].open(destination[1]) as writer:
        await feed(reader, source[1])
        await reader.close_input()
        await feed(writer, destination[1])
        try:
            while data := await reader.read(CHUNK):
                await writer.write(data)
                moved += len(data)
                on_bytes(moved)
        except _BROKEN:
            # One of the two has gone. Nobody wants the rest, which may be gigabytes.
            reader.stop()
        with contextlib.suppress(*_BROKEN):
            await writer.close_input()
        written = await writer.finish()
        return await reader.finish(), written


async def feed(stream: Stream, command: Command) -> None:
    """Write what a command reads; one that ends without reading it says why itself."""
    if command.stdin:
        with contextlib.suppress(*_BROKEN):
            await stream.write(command.stdin)


def _timed_out(command: Command, host: str) -> CommandResult:
    return CommandResult(command, host, TIMED_OUT, "", f"no end within {command.timeout:g} seconds")


def _result(
    command: Command,
    host: str,
    returncode: int | None,
    stdout: bytes | str | None,
    stderr: bytes | str | None,
) -> CommandResult:
    return CommandResult(
        command,
        host,
        LOST if returncode is None else returncode,
        _text(stdout),
        _text(stderr),
    )


def _text(output: bytes | str | None) -> str:
    if isinstance(output, str):
        return output
    return (output or b"").decode(errors="replace")
