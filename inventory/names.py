r"""Which names, users, addresses and paths may reach a command line.

OpenSSH reads an argument that starts with a dash as an option, so that a host
called `-oProxyCommand=…` runs a command on the controller (CVE-2017-1000117 is
git's case of it), and hands `%h` and `%r` to the shells of ProxyCommand and
Match exec unquoted (CVE-2023-51385). These rules are therefore lists of what is
allowed, and the types of `inventory.host` apply them, however they were made.
"""

from __future__ import annotations

import ipaddress
import re

from orchestrator.errors import InventoryError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
# An interface name as the zone of a link-local address: fe80::1%enp1s0.
_ZONE = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
# useradd's rule with upper case and dots, without the $ of Samba's machines.
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_PUBLIC_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}( [^\x00-\x1f\x7f]*)?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_LONGEST_NAME = 253
LAST_PORT = 65535


def is_ipv6(text: str) -> bool:
    """Whether the text is an IPv6 address, with or without a zone."""
    address, percent, zone = text.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return not percent or _ZONE.fullmatch(zone) is not None


def check_address(value: str, what: str = "address") -> str:
    """Return a host name or IP address that is safe as an ssh argument.

    Raises:
        InventoryError: it is neither.
    """
    if (_NAME.fullmatch(value) and len(value) <= _LONGEST_NAME) or is_ipv6(value):
        return value
    raise InventoryError(
        message=f"{what} {value!r} is neither a host name nor an IP address",
        hint="letters, digits, dots, dashes and underscores, not starting with a dash; "
        "write an international name in its xn-- form",
    )


def check_name(value: str, what: str) -> str:
    """Return a group or attribute name that host patterns and Nix can express.

    Raises:
        InventoryError: it has a character that patterns or shells would read.
    """
    if _NAME.fullmatch(value):
        return value
    raise InventoryError(
        message=f"{what} {value!r} is not valid",
        hint="letters, digits, underscores, dots and dashes, not starting with a dash",
    )


def check_user(value: str, what: str = "user") -> str:
    """Return a login name that is safe as an ssh or sudo argument.

    Raises:
        InventoryError: it isn't one.
    """
    if _USER.fullmatch(value):
        return value
    raise InventoryError(
        message=f"{what} {value!r} is not a login name",
        hint="letters, digits, dots, dashes and underscores, not starting with a dash",
    )


def check_port(value: int, what: str = "port") -> int:
    """Return a TCP port.

    Raises:
        InventoryError: it is outside 1 to 65535.
    """
    if 1 <= value <= LAST_PORT:
        return value
    raise InventoryError(message=f"{what} {value} is not between 1 and {LAST_PORT}")


def check_path(value: str | None, what: str) -> str | None:
    """Return a file name that no program takes for an option or for two lines.

    Raises:
        InventoryError: it is empty, starts with a dash or has control characters.
    """
    if value is None or (value and not value.startswith("-") and not _CONTROL.search(value)):
        return value
    raise InventoryError(
        message=f"{what} {value!r} is not a usable file name",
        hint="no control characters, and not starting with a dash",
    )


def check_public_key(value: str | None) -> str | None:
    """Return a host key as sshd publishes it: `ssh-ed25519 AAAA… comment`.

    Raises:
        InventoryError: it is not one line of that form.
    """
    if value is None or _PUBLIC_KEY.fullmatch(value):
        return value
    raise InventoryError(
        message=f"host key {value!r} is not one public key line",
        hint="the line of /etc/ssh/ssh_host_ed25519_key.pub: ssh-ed25519 AAAA…",
    )
