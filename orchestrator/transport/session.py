"""A session on one host that may need privilege: fabric, for what changes a system."""

from __future__ import annotations

import io
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import fabric
import paramiko
from invoke.exceptions import CommandTimedOut
from paramiko.hostkeys import HostKeyEntry

from inventory.host import Connection, Host, HostKeyPolicy, JumpHost
from orchestrator.command import Command, CommandResult
from orchestrator.errors import UnreachableError
from orchestrator.model.stage import Stage
from orchestrator.transport.address import (
    accepts_new,
    fabric_options,
    known_hosts_file,
    known_hosts_lines,
    recorded_lines,
)
from orchestrator.transport.become import Privilege
from orchestrator.transport.shell import LOST, TIMED_OUT

if TYPE_CHECKING:
    from collections.abc import Iterator


class Privileged(Protocol):
    """A host where commands run as root, whoever is logged in."""

    def run_as_root(self, command: Command) -> CommandResult:
        """Run to the end; a broken connection is exit code 255."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """An open login on `host` that runs one command at a time."""

    host: Host
    connection: Any

    def run(self, command: Command) -> CommandResult:
        """Run as the login user and collect what it prints."""
        return self._run(command)

    def run_as_root(self, command: Command) -> CommandResult:
        """Run as root, the way the inventory says; as is where the user is root."""
        return self._run(Privilege(self.host).elevate(command))

    def _run(self, command: Command) -> CommandResult:
        stdin = io.StringIO(command.stdin.decode()) if command.stdin is not None else False
        try:
            done = self.connection.run(
                command.line(), hide=True, warn=True, in_stream=stdin, timeout=command.timeout
            )
        except CommandTimedOut:
            late = f"no end within {command.timeout:g} seconds"
            return CommandResult(command, self.host.name, TIMED_OUT, "", late)
        except (paramiko.SSHException, EOFError, OSError) as error:
            return CommandResult(command, self.host.name, LOST, "", f"connection lost: {error}")
        # paramiko's -1: the channel closed and brought no exit code.
        code = LOST if done.exited < 0 else done.exited
        return CommandResult(command, self.host.name, code, done.stdout, done.stderr)


@contextmanager
def session(host: Host) -> Iterator[Session]:
    """Log in to `host` with fabric, through its jump host if it has one.

    Raises:
        UnreachableError: it doesn't answer, or isn't who it should be.
    """
    with ExitStack() as stack:
        jump = host.connection.jump
        gateway = stack.enter_context(_open(host, jump, None)) if jump else None
        yield Session(host, stack.enter_context(_open(host, host.connection, gateway)))


@contextmanager
def _open(host: Host, connection: Connection | JumpHost, gateway: Any) -> Iterator[Any]:  # noqa: ANN401 - fabric has no types
    options = fabric_options(connection, host.connection.connect_timeout)
    # The user's ssh configuration stays out: asyncssh doesn't read it here either.
    config = fabric.Config(lazy=True, overrides={"load_ssh_configs": False})
    opened = fabric.Connection(gateway=gateway, config=config, **options)
    jumping = isinstance(connection, JumpHost)
    trusted = recorded_lines(host.connection) if jumping else known_hosts_lines(host.connection)
    _trust(opened.client, trusted)
    policy = host.connection.host_key_policy
    recording = accepts_new(host.connection) or (jumping and policy is HostKeyPolicy.ACCEPT_NEW)
    file = known_hosts_file(host.connection)
    opened.client.set_missing_host_key_policy(
        _Recording(file) if recording else paramiko.RejectPolicy()
    )
    try:
        opened.open()
    except (paramiko.SSHException, EOFError, OSError) as error:
        opened.close()
        raise UnreachableError(
            message=f"no session: {error}",
            hint="check that it is on, its sshd runs, and its key is in the known_hosts file",
            host=host.name,
            stage=Stage.CONNECT,
        ) from error
    try:
        yield opened
    finally:
        opened.close()


def _trust(client: paramiko.SSHClient, lines: bytes) -> None:
    for line in lines.decode().splitlines():
        entry = HostKeyEntry.from_line(line) if line.strip() else None
        if entry is None or entry.key is None:
            continue
        for name in entry.hostnames or ():
            client.get_host_keys().add(name, entry.key.get_name(), entry.key)


@dataclass(frozen=True, slots=True)
class _Recording:
    """Append a first key: paramiko's own policy writes the file anew, without its comments."""

    file: Path

    def missing_host_key(self, _client: paramiko.SSHClient, name: str, key: paramiko.PKey) -> None:
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.file.open("a") as known:
            known.write(f"{name} {key.get_name()} {key.get_base64()}\n")
