"""From a path to an `Inventory`: natively if that is possible, otherwise by Ansible."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from inventory import ansible_source, yaml_source
from inventory.definitions import OURS, PREFIX
from inventory.fleet_variables import check_not_lower, fleet_of
from inventory.group_tree import members
from inventory.host import Host, Inventory
from inventory.host_variables import host_of
from inventory.rollout import check_set_by_group, rollout_of
from inventory.source import NotNativeError
from inventory.suggestion import did_you_mean
from inventory.variables import Variables
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from pathlib import Path

    from inventory.source import Source

_NATIVE = frozenset({".yml", ".yaml", ".json"})


def read_inventory(path: Path) -> Inventory:
    """Read and interpret an inventory.

    YAML in Ansible's shape is read without Ansible. A directory, a script, an INI
    file, a plugin's configuration or an encrypted file is read by
    `ansible-inventory --list`.

    Raises:
        InventoryError: it can't be read, or a variable is unknown, wrong or
            refused.
    """
    return interpret(read_source(path))


def read_source(path: Path) -> Source:
    """Read an inventory without interpreting its variables.

    Raises:
        InventoryError: it can't be read.
    """
    path = path.expanduser().absolute()
    if not path.exists():
        raise InventoryError(
            message=f"no inventory at {path}",
            hint="orchestrate init writes one; --inventory names another",
        )
    try:
        _check_native(path)
        return yaml_source.read(path)
    except NotNativeError as why:
        return ansible_source.read(path, str(why))


def _check_native(path: Path) -> None:
    """Raise NotNativeError if the kind of file already says so."""
    message = ""
    if path.is_dir():
        message = f"{path} is a directory"
    elif _is_script(path):
        message = f"{path} is an executable script"
    elif path.suffix not in _NATIVE:
        message = f"{path} is not named .yml, .yaml or .json"
    if message:
        raise NotNativeError(message)


def _is_script(path: Path) -> bool:
    # The mode alone says nothing on file systems that mark every file executable.
    if not os.access(path, os.X_OK):
        return False
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def interpret(source: Source) -> Inventory:
    """Interpret the variables of hosts and fleet.

    Raises:
        InventoryError: a variable is unknown, wrong or refused.
    """
    everywhere = Variables("", source.everywhere, source.base)
    all_variables = {
        name: Variables(name, values, source.base) for name, values in source.hosts.items()
    }
    groups = {name: members(source.groups, name) for name in source.groups}
    _check_known(everywhere)
    for variables in all_variables.values():
        _check_known(variables)
        check_not_lower(variables, everywhere)
        check_set_by_group(variables, _groups_of(variables.host, groups), source.group_variables)
    fleet = fleet_of(everywhere, rollout_of(everywhere, source.group_variables, groups))
    hosts = tuple(
        host_of(variables, _groups_of(name, groups), all_variables)
        for name, variables in all_variables.items()
    )
    _check_evaluator(fleet.evaluate_on, hosts)
    return Inventory(str(source.path), hosts, groups, fleet)


def _groups_of(host: str, groups: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(
        name
        for name, hosts in sorted(groups.items())
        if host in hosts and name not in {"all", "ungrouped"}
    )


def _check_known(variables: Variables) -> None:
    for name in variables.values:
        if name.startswith(PREFIX) and name not in OURS:
            raise InventoryError(
                message=f"unknown variable {name}",
                hint=did_you_mean(name, OURS) or "docs/variables.md has all variables",
                host=variables.host,
            )


def _check_evaluator(name: str | None, hosts: tuple[Host, ...]) -> None:
    builders = [host.name for host in hosts if host.builder]
    if name is not None and name not in {"controller", *builders}:
        raise InventoryError(
            message=f"orchestrate_evaluate_on is {name!r}, which is neither controller "
            "nor a host with orchestrate_builder",
            hint=did_you_mean(name, ["controller", *builders]),
        )
