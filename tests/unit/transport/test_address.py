"""One connection, rendered for three ssh clients: all of them reach the same host alike."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncssh
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from inventory.host import Connection, HostKeyPolicy, JumpHost
from orchestrator.transport.address import (
    accepts_new,
    asyncssh_options,
    fabric_options,
    host_pattern,
    known_hosts_lines,
    openssh_argv,
    recorded_lines,
)

if TYPE_CHECKING:
    from pathlib import Path

KEY = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
OTHER = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
PINNED = replace(Connection("carbon.lan"), host_key=f'{KEY} root@carbon\'s 100% "own"')
JUMP = JumpHost("gate.example.org", port=2200, user="hop", identity_file="/keys/gate key")


def resolve(argv: tuple[str, ...]) -> dict[str, str]:
    """Let the real ssh say what it makes of these options."""
    done = subprocess.run(
        ["ssh", "-G", *argv], capture_output=True, text=True, check=True, timeout=20
    )
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: value for name, _, value in pairs}


def proxied(connection: Connection) -> tuple[str, ...]:
    """Give the arguments of the ssh in a ProxyCommand, as ssh expands and the shell splits it."""
    command = resolve(openssh_argv(connection))["proxycommand"]
    tokens = {"%%": "%", "%h": connection.address, "%p": str(connection.port)}
    expanded = re.sub("%[%hp]", lambda match: tokens[match[0]], command)
    split = 'for word; do printf "%s\\0" "$word"; done'
    words = subprocess.run(
        ["sh", "-c", f"set -- {expanded}\n{split}"], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    assert words[0] == "ssh"
    return tuple(words[1:-1])


names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
addresses = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True) | st.sampled_from(
    ["10.0.0.1", "fd00::17", "fe80::1%enp1s0"]
)
ports = st.integers(1, 65535)
paths = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="$~"), min_size=1
).map(lambda text: f"/keys/{text}")
jumps = st.builds(
    JumpHost, address=addresses, port=ports, user=names, identity_file=st.none() | paths
)
connections = st.builds(
    Connection,
    address=addresses,
    port=ports,
    user=names,
    identity_file=st.none() | paths,
    jump=st.none() | jumps,
    host_key_policy=st.sampled_from(HostKeyPolicy),
    known_hosts_file=paths,
    host_key=st.none() | st.just(KEY),
    connect_timeout=st.floats(0.1, 300),
)

few = settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@few
@given(connections)
def test_the_three_clients_agree(connection: Connection) -> None:
    """Address, port, user and key are the same for asyncssh, fabric and OpenSSH."""
    ssh = resolve(openssh_argv(connection))
    with_asyncssh = asyncssh_options(connection, None)
    with_fabric = fabric_options(connection, connection.connect_timeout)
    assert with_asyncssh["host"] == with_fabric["host"] == connection.address
    assert ssh["hostname"].lower() == connection.address.lower()
    assert with_asyncssh["port"] == with_fabric["port"] == int(ssh["port"])
    assert with_asyncssh["username"] == with_fabric["user"] == ssh["user"]
    assert with_fabric["connect_timeout"] == int(ssh["connecttimeout"])
    assert ssh["batchmode"] == "yes"
    if connection.identity_file is None:
        assert with_asyncssh["client_keys"] == ()
        assert with_fabric["connect_kwargs"] == {"look_for_keys": True}
        return
    assert with_asyncssh["client_keys"] == [connection.identity_file]
    assert with_fabric["connect_kwargs"]["key_filename"] == connection.identity_file
    assert ssh["identityfile"].replace("%%", "%") == connection.identity_file
    assert with_asyncssh["agent_path"] is None
    assert with_fabric["connect_kwargs"]["allow_agent"] is False
    assert ssh["identitiesonly"] == "yes"


@few
@given(connections.filter(lambda connection: connection.jump is not None))
def test_the_jump_host_is_logged_in_to_like_any_other(connection: Connection) -> None:
    """OpenSSH goes through the jump with the jump's own port, user, key and known_hosts."""
    jump = connection.jump
    assert jump is not None
    inner = proxied(connection)
    ssh = resolve(inner)
    expected = asyncssh_options(jump, None)
    assert inner[-1] == jump.address
    assert int(ssh["port"]) == expected["port"]
    assert ssh["user"] == expected["username"]
    if jump.identity_file is not None:
        assert ssh["identityfile"].replace("%%", "%") == jump.identity_file
        assert ssh["identitiesonly"] == "yes"
    assert ssh["stricthostkeychecking"] in {"true", "accept-new"}
    assert inner[inner.index("-W") + 1] == f"[{connection.address}]:{connection.port}"


@pytest.mark.parametrize(
    ("policy", "host_key", "checking", "accepting"),
    [
        (HostKeyPolicy.PINNED, None, "true", False),
        (HostKeyPolicy.PINNED, KEY, "true", False),
        (HostKeyPolicy.ACCEPT_NEW, None, "accept-new", True),
        (HostKeyPolicy.ACCEPT_NEW, KEY, "true", False),
    ],
)
def test_an_unknown_key_is_taken_only_where_asked(
    policy: HostKeyPolicy, host_key: str | None, checking: str, *, accepting: bool
) -> None:
    """A first key is recorded under accept-new only, and never where one is pinned."""
    connection = Connection("carbon", host_key_policy=policy, host_key=host_key)
    assert accepts_new(connection) is accepting
    assert resolve(openssh_argv(connection))["stricthostkeychecking"] == checking


def test_a_jump_host_is_accepted_as_new_even_for_a_pinned_host() -> None:
    """The pin is the target's: the jump host follows the policy."""
    connection = replace(PINNED, jump=JUMP, host_key_policy=HostKeyPolicy.ACCEPT_NEW)
    assert resolve(proxied(connection))["stricthostkeychecking"] == "accept-new"


def test_the_known_hosts_file_is_one_file(tmp_path: Path) -> None:
    """A file name with a space and a percent sign is the same file for OpenSSH and for us."""
    file = tmp_path / "known hosts 100%h"
    file.write_text(f"carbon {KEY}\n")
    connection = Connection("carbon", known_hosts_file=str(file))
    assert known_hosts_lines(connection) == file.read_bytes()
    argv = openssh_argv(connection)
    assert f'UserKnownHostsFile="{tmp_path}/known hosts 100%%h"' in argv
    assert resolve(argv)["userknownhostsfile"].replace("%%", "%").strip('"') == str(file)
    assert resolve(argv)["globalknownhostsfile"] == "/dev/null"


def test_nobodys_ssh_configuration_is_read(tmp_path: Path) -> None:
    """An alias in ~/.ssh/config sends OpenSSH nowhere else than the other two."""
    connection = Connection("carbon", jump=JUMP, known_hosts_file=str(tmp_path / "k"))
    assert openssh_argv(connection)[:2] == ("-F", "none")
    assert proxied(connection)[:2] == ("-F", "none")


def test_a_pinned_key_is_the_only_one(tmp_path: Path) -> None:
    """What known_hosts says of a pinned host, under any spelling, is not asked."""
    file = tmp_path / "known_hosts"
    file.write_text(f"carbon.lan {OTHER}\n*.lan {OTHER}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    connection = replace(PINNED, known_hosts_file=str(file))
    known = asyncssh.import_known_hosts(known_hosts_lines(connection).decode())
    keys = known.match("carbon.lan", "", 22)[0]
    assert [key.export_public_key() for key in keys] == [
        asyncssh.import_public_key(KEY).export_public_key()
    ]
    ssh = resolve(openssh_argv(connection))
    assert ssh["userknownhostsfile"] == "/dev/null"


@pytest.mark.parametrize("address", ["carbon.lan", "fe80::1%enp1s0"])
@pytest.mark.parametrize("port", [22, 2222])
def test_openssh_is_told_the_pinned_key(address: str, port: int) -> None:
    """The command that OpenSSH asks for known hosts prints the pinned line."""
    connection = replace(PINNED, address=address, port=port)
    setting = next(part for part in openssh_argv(connection) if part.startswith("KnownHostsC"))
    assert resolve(openssh_argv(connection))["port"] == str(port)
    program = shlex.split(setting.partition("=")[2].replace("%%", "%"))
    assert program[0].startswith("/")
    printed = subprocess.run(program, capture_output=True, check=True, timeout=20).stdout
    assert printed == known_hosts_lines(connection)
    assert printed.decode() == f"{host_pattern(connection)} {KEY}\n"


def test_a_pin_leaves_the_other_hosts_alone(tmp_path: Path) -> None:
    """A jump host whose name contains the pinned host's keeps its recorded key."""
    file = tmp_path / "known_hosts"
    file.write_text(f"10.0.0.10 {OTHER}\n")
    connection = Connection(
        "10.0.0.1", known_hosts_file=str(file), host_key=KEY, jump=JumpHost("10.0.0.10")
    )
    assert recorded_lines(connection) == file.read_bytes()
    assert f"10.0.0.1 {KEY}\n".encode() == known_hosts_lines(connection)
