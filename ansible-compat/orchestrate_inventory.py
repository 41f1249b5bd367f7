#!/usr/bin/env python3
"""Ansible dynamic inventory over the inventory of orchestrate.

    ansible-inventory -i orchestrate_inventory.py --list
    ansible laptops -i orchestrate_inventory.py -m ping

Reads $ORCHESTRATE_INVENTORY, or inventory.yml in the working directory. Prints
what Ansible's developer guide calls "Inventory script conventions": groups, and
the variables of each host under `_meta`, all orchestrate_ variables included.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# In a checkout the packages lie one directory up, in an installed wheel two:
# Ansible starts this file with whatever python3 is first on PATH.
_HERE = Path(__file__).resolve()
for _root in (_HERE.parents[2], _HERE.parents[1]):
    if (_root / "orchestrator/errors.py").is_file():
        sys.path.insert(0, str(_root))

from inventory.read import interpret, read_source  # noqa: E402  found by the lines above
from inventory.source import UnsafeText, Vaulted  # noqa: E402
from orchestrator.errors import InventoryError  # noqa: E402

if TYPE_CHECKING:
    from inventory.host import Connection, Host
    from inventory.source import Source

_ARGUMENTS = "ansible_ssh_common_args"


def listing(source: Source) -> dict[str, object]:
    """Give what `--list` prints.

    Raises:
        InventoryError: a variable is unknown, wrong or refused.
    """
    inventory = interpret(source)
    document: dict[str, object] = {
        "_meta": {"hostvars": {host.name: variables_of(source, host) for host in inventory.hosts}}
    }
    for name, group in source.groups.items():
        # Ansible takes a group without any of its keys for a host.
        content: dict[str, object] = {"hosts": list(group.hosts), "children": list(group.children)}
        if name == "all":
            content["vars"] = _plain(source.everywhere)
        document[name] = content
    return document


def variables_of(source: Source, host: Host) -> dict[str, object]:
    """Give a host's variables, with what Ansible lacks to reach it as we do."""
    values = source.hosts[host.name]
    added: dict[str, object] = {}
    if "ansible_ssh_user" not in values:
        # Ansible would log in as whoever runs it.
        added["ansible_user"] = host.connection.user
    arguments = _ssh_arguments(values, host.connection)
    if arguments and _ARGUMENTS not in values:
        added[_ARGUMENTS] = shlex.join(arguments)
    return added | {name: _plain(value) for name, value in values.items()}


def _ssh_arguments(values: dict[str, object], connection: Connection) -> list[str]:
    """Say in ssh's words what our own connection variables say."""
    arguments = []
    jump = connection.jump
    if jump is not None:
        address = f"[{jump.address}]" if ":" in jump.address else jump.address
        arguments += ["-o", f"ProxyJump={jump.user}@{address}:{jump.port}"]
    if connection.known_hosts_file is not None:
        arguments += ["-o", f"UserKnownHostsFile={connection.known_hosts_file}"]
    if "orchestrate_host_key_policy" in values:
        strict = "yes" if connection.host_key_policy == "pinned" else "accept-new"
        arguments += ["-o", f"StrictHostKeyChecking={strict}"]
    return arguments


def _plain(value: object) -> object:
    """Turn a value into JSON, with Ansible's marks for encrypted and unsafe text."""
    match value:
        case Vaulted(text=text):
            return {"__ansible_vault": text}
        case UnsafeText():
            return {"__ansible_unsafe": str(value)}
        case dict():
            return {str(key): _plain(content) for key, content in value.items()}
        case list():
            return [_plain(content) for content in value]
    return value


def main() -> int:
    """Answer `--list` or `--host`, as Ansible asks."""
    parser = argparse.ArgumentParser(description="Ansible inventory of orchestrate")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--list", action="store_true", help="all groups and hosts")
    asked.add_argument("--host", metavar="NAME", help="the variables of one host")
    arguments = parser.parse_args()
    try:
        source = read_source(Path(os.environ.get("ORCHESTRATE_INVENTORY") or "inventory.yml"))
        if arguments.list:
            answer = listing(source)
        else:
            answer = variables_of(source, interpret(source).host(arguments.host))
    except InventoryError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
