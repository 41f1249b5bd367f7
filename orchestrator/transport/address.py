"""One rendering of a connection for every ssh client.

asyncssh, fabric and OpenSSH each spell host, port, user, key, jump host and
host-key policy in their own way. This is the only place that knows how, so that
a host is reached the same way whichever client goes there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inventory.host import Connection, HostKeyPolicy, JumpHost

KEEPALIVE_INTERVAL = 2.0
"""Seconds between keepalives; with `KEEPALIVE_COUNT` a dead link shows in 6 s."""

KEEPALIVE_COUNT = 3

# Half of a login is the key exchange: curve25519 takes half the time of the
# post-quantum default on small machines and every sshd since 2014 has it.
_KEY_EXCHANGES = ("curve25519-sha256", "curve25519-sha256@libssh.org")


def default_known_hosts() -> Path:
    """Give the user's own known_hosts file, as OpenSSH's UserKnownHostsFile."""
    return Path("~/.ssh/known_hosts").expanduser()


def known_hosts_file(connection: Connection) -> Path:
    """Give the file that host keys are checked against and recorded in."""
    if connection.known_hosts_file:
        return Path(connection.known_hosts_file)
    return default_known_hosts()


def known_hosts_lines(connection: Connection) -> bytes:
    """Give the known_hosts text to check against: a pinned key, or the file.

    With a key pinned in the inventory, the file still answers for the jump host.
    """
    file = known_hosts_file(connection)
    recorded = file.read_bytes() if file.is_file() else b""
    if connection.host_key is None:
        return recorded
    pattern = host_pattern(connection)
    others = [line for line in recorded.splitlines() if pattern.encode() not in line]
    return b"\n".join([*others, f"{pattern} {connection.host_key}".encode(), b""])


def host_pattern(connection: Connection | JumpHost) -> str:
    """Give the host as known_hosts spells it: `[address]:port` off port 22 (sshd(8))."""
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
    """Render for OpenSSH, as the options a user can paste after `ssh`."""
    checking = "accept-new" if connection.host_key_policy is HostKeyPolicy.ACCEPT_NEW else "yes"
    options = [
        ("StrictHostKeyChecking", checking),
        ("UserKnownHostsFile", str(known_hosts_file(connection))),
        ("ConnectTimeout", str(int(connection.connect_timeout) or 1)),
        ("ServerAliveInterval", str(int(KEEPALIVE_INTERVAL))),
        ("ServerAliveCountMax", str(KEEPALIVE_COUNT)),
        ("BatchMode", "yes"),
    ]
    argv = ["-p", str(connection.port), "-l", connection.user]
    if connection.identity_file:
        argv += ["-i", connection.identity_file, "-o", "IdentitiesOnly=yes"]
    if connection.jump:
        argv += ["-J", f"{connection.jump.user}@{connection.jump.address}:{connection.jump.port}"]
    for name, value in options:
        argv += ["-o", f"{name}={value}"]
    return (*argv, connection.address)
