"""What every way of reading an inventory yields, before anything is interpreted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SECRETS = frozenset(
    {
        "ansible_become_pass",
        "ansible_become_password",
        "ansible_password",
        "ansible_ssh_pass",
        "ansible_ssh_password",
        "ansible_sudo_pass",
    }
)
"""Ansible's variables that hold a password itself."""


@dataclass(frozen=True, slots=True)
class Vaulted:
    """An inline `!vault` value. It stays encrypted: nothing here can open it."""

    text: str


class UnsafeText(str):
    """An `!unsafe` value: text in which `{{` means nothing."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Group:
    """The direct members of a group."""

    hosts: tuple[str, ...] = ()
    children: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Hosts and groups with their variables as the user wrote them.

    Args:
        path: the file or directory.
        base: the directory that relative paths start from.
        groups: by name, always with `all` and `ungrouped`.
        hosts: the variables that hold for each host, precedence applied.
        everywhere: the variables of the group `all`.
        group_variables: what each group, `all` included, sets itself.
    """

    path: Path
    base: Path
    groups: dict[str, Group]
    hosts: dict[str, dict[str, object]]
    everywhere: dict[str, object]
    group_variables: dict[str, dict[str, object]]


class NotNativeError(Exception):
    """The inventory uses something that only Ansible itself can read.

    Never leaves this package: `inventory.read` then asks ansible-inventory.
    """
