"""One rendering of a connection for every ssh client.

asyncssh, fabric and OpenSSH each spell host, port, user, key, jump host and
host-key policy in their own way. This is the only place that knows how, so that
a host is reached the same way whichever client goes there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inventory.host import Connection, HostKeyPolicy, JumpHost
from orchestrator.command import Command

KEEPALIVE_INTERVAL = 2.0
"""Seconds between keepalives; with `KEEPALIVE_COUNT` a dead link shows in 6 s."""

KEEPALIVE_COUNT = 3

# Half of a login is the key exchange: curve25519 takes half the time of the
# post-quantum default on small machines and every sshd since 2014 has it.
_KEY_EXCHANGES = ("curve25519-sha256", "curve25519-sha256@libssh.org")

# asyncssh does these in one call a packet, at four times the speed of its default.
_CIPHERS_FIRST = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com"


def default_known_hosts() -> Path:
    """Return the user's own known_hosts file, as OpenSSH's UserKnownHostsFile."""
    return Path("~/.ssh/known_hosts").expanduser()


def known_hosts_file(connection: Connection) -> Path:
    """Return the file that host keys are checked against and recorded in."""
    if connection.known_hosts_file:
        return Path(connection.known_hosts_file)
    return default_known_hosts()


def known_hosts_lines(connection: Connection) -> bytes:
    """Return the known_hosts text that the host itself is checked against.

    A key pinned in the inventory is the only one that counts: what the file has
    for this host, in whatever spelling, is not asked.
    """
    if connection.host_key is None:
        return recorded_lines(connection)
    return f"{host_pattern(connection)} {_key_only(connection.host_key)}\n".encode()


def recorded_lines(connection: Connection) -> bytes:
    """Return the known_hosts text of the file, which the jump host is checked against."""
    file = known_hosts_file(connection)
    return file.read_bytes() if file.is_file() else b""


def accepts_new(connection: Connection) -> bool:
    """Whether a host key seen for the first time is recorded: never if one is pinned."""
    return connection.host_key_policy is HostKeyPolicy.ACCEPT_NEW and connection.host_key is None


def _key_only(line: str) -> str:
    """Return algorithm and key of a public key line, without its comment."""
    return " ".join(line.split()[:2])


def host_pattern(connection: Connection | JumpHost) -> str:
    """Return the host as known_hosts spells it: `[address]:port` off port 22 (sshd(8))."""
    if connection.port == 22:  # noqa: PLR2004 - ssh's own default port
        return connection.address
    return f"[{connection.address}]:{connection.port}"


def asyncssh_options(connection: Connection | JumpHost, known_hosts: Any) -> dict[str, Any]:  # noqa: ANN401 - asyncssh's own union
    """Render for `asyncssh.connect`, without the tunnel, which is a live object."""
    return {
        "host": connection.address,
        "port": connection.port,
        "username": connection.user,
        "client_keys": [connection.identity_file] if connection.identity_file else (),
        "agent_path": None if connection.identity_file else (),
        "known_hosts": known_hosts,
        "kex_algs": list(_KEY_EXCHANGES),
        "encryption_algs": _CIPHERS_FIRST,
        "keepalive_interval": KEEPALIVE_INTERVAL,
        "keepalive_count_max": KEEPALIVE_COUNT,
        "config": None,
    }


def fabric_options(connection: Connection | JumpHost, connect_timeout: float) -> dict[str, Any]:
    """Render for `fabric.Connection`, without the gateway, which is a live object."""
    keys: dict[str, Any] = {"look_for_keys": connection.identity_file is None}
    if connection.identity_file:
        keys |= {"key_filename": connection.identity_file, "allow_agent": False}
    return {
        "host": connection.address,
        "port": connection.port,
        "user": connection.user,
        "connect_timeout": int(connect_timeout) or 1,
        "connect_kwargs": keys,
    }


def openssh_argv(connection: Connection) -> tuple[str, ...]:
    """Render for OpenSSH, as the options a user can paste after `ssh`.

    Nobody's ssh configuration is read, as in the other two renderings. The jump
    is a ProxyCommand: -J logs in there with neither our key nor our known_hosts.
    """
    argv = [*_openssh_login(connection, connection)]
    if connection.host_key is None:
        checking = "accept-new" if accepts_new(connection) else "yes"
        argv += _openssh_host_keys(str(known_hosts_file(connection)), checking)
    else:
        argv += _openssh_host_keys("/dev/null", "yes")
        # ssh doesn't look for this program on PATH, and NixOS has /bin/sh only.
        answer = f"echo '{known_hosts_lines(connection).decode().strip()}'"
        argv += ["-o", f"KnownHostsCommand=/bin/sh -c {_quoted(_literal(answer))}"]
    if connection.jump:
        through = Command(("ssh", *_openssh_jump(connection, connection.jump))).line()
        argv += ["-o", f"ProxyCommand={through}"]
    return (*argv, connection.address)


def _openssh_jump(connection: Connection, jump: JumpHost) -> tuple[str, ...]:
    """Render the login on the jump host, for inside a ProxyCommand, which expands `%`."""
    recording = connection.host_key_policy is HostKeyPolicy.ACCEPT_NEW
    login = [
        *_openssh_login(jump, connection),
        *_openssh_host_keys(
            str(known_hosts_file(connection)), "accept-new" if recording else "yes"
        ),
    ]
    return (*map(_literal, login), "-W", "[%h]:%p", _literal(jump.address))


def _openssh_login(place: Connection | JumpHost, connection: Connection) -> tuple[str, ...]:
    argv = ["-F", "none", "-p", str(place.port), "-l", place.user]
    if place.identity_file:
        # Not -i, which drops a file that isn't there without an error.
        identity = _quoted(_literal(place.identity_file))
        argv += ["-o", f"IdentityFile={identity}", "-o", "IdentitiesOnly=yes"]
    options = [
        ("ConnectTimeout", str(int(connection.connect_timeout) or 1)),
        ("ServerAliveInterval", str(int(KEEPALIVE_INTERVAL))),
        ("ServerAliveCountMax", str(KEEPALIVE_COUNT)),
        ("BatchMode", "yes"),
    ]
    for name, value in options:
        argv += ["-o", f"{name}={value}"]
    return tuple(argv)


def _openssh_host_keys(file: str, checking: str) -> tuple[str, ...]:
    return (
        "-o",
        f"StrictHostKeyChecking={checking}",
        "-o",
        f"UserKnownHostsFile={_quoted(_literal(file))}",
        "-o",
        "GlobalKnownHostsFile=/dev/null",
    )


def _literal(text: str) -> str:
    """Keep ssh from expanding a `%` (ssh_config(5), TOKENS)."""
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """Make one argument of an ssh_config value that may hold several."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
