"""An inventory that only Ansible can read, asked from `ansible-inventory --list`.

That is its documented interface ("ansible-inventory" in Ansible's command line
tools) for INI, vault, plugins, scripts and directories. It prints templates and
inline `!vault` values as they are written, it does not resolve them.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from inventory.names import check_address, check_name
from inventory.source import SECRETS, Group, Source, UnsafeText, Vaulted
from orchestrator.errors import InventoryError

_TIMEOUT = 300
_LAST_LINES = 12


def read(path: Path, why: str) -> Source:
    """Read any inventory that Ansible reads.

    Args:
        path: file or directory.
        why: what in it isn't native, for the error when Ansible isn't there.

    Raises:
        InventoryError: ansible-inventory isn't installed, failed, or printed
            something else than its documentation says.
    """
    program = _program(why)
    # --list applies all of Ansible's precedence; only --export keeps the
    # variables of each group apart.
    merged = _run(program, path)
    exported = _run(program, path, "--export")
    groups = _groups(merged)
    variables = merged.get("_meta", {}).get("hostvars", {})
    return Source(
        path=path,
        base=path if path.is_dir() else path.parent,
        groups=groups,
        hosts={name: _variables(variables.get(name, {})) for name in _hosts(groups)},
        everywhere=_variables(exported.get("all", {}).get("vars", {})),
        group_variables={
            name: _variables(exported.get(name, {}).get("vars", {})) for name in groups
        },
    )


def _program(why: str) -> str:
    beside_python = str(Path(sys.executable).parent)
    program = shutil.which("ansible-inventory") or shutil.which(
        "ansible-inventory", path=beside_python
    )
    if program is None:
        raise InventoryError(
            message=f"{why}, and only Ansible reads that: ansible-inventory is not installed",
            hint="install ansible-core, or write the inventory as YAML (orchestrate init)",
        )
    return program


def _run(program: str, path: Path, *options: str) -> dict[str, Any]:
    command = [program, "-i", str(path), "--list", *options]
    # Without these Ansible warns of a source it can't parse and prints no hosts.
    environment = os.environ | {
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_NOCOLOR": "true",
    }
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            check=False,
            encoding="utf-8",
            env=environment,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(command, f"did not end in {_TIMEOUT} seconds") from error
    if ended.returncode:
        raise _failed(command, f"ended with exit code {ended.returncode}", ended.stderr)
    try:
        document = json.loads(ended.stdout)
    except ValueError as error:
        raise _failed(command, "did not print JSON", ended.stdout) from error
    if not isinstance(document, dict):
        raise _failed(command, "printed JSON that is no object")
    return document


def _failed(command: list[str], how: str, output: str = "") -> InventoryError:
    return InventoryError(
        message=f"ansible-inventory {how}",
        command=shlex.join(command),
        last_lines=tuple(output.splitlines()[-_LAST_LINES:]),
        hint="run the command; if it asks for a vault password, set ANSIBLE_VAULT_PASSWORD_FILE",
    )


def _groups(document: dict[str, Any]) -> dict[str, Group]:
    """Take the groups; Ansible mentions an empty one only as a child."""
    groups = {"all": Group(), "ungrouped": Group()}
    for name, content in document.items():
        if name == "_meta":
            continue
        children = tuple(content.get("children", ()))
        groups[check_name(name, "group name")] = Group(tuple(content.get("hosts", ())), children)
        for child in children:
            groups.setdefault(check_name(child, "group name"), Group())
    return groups


def _hosts(groups: dict[str, Group]) -> tuple[str, ...]:
    """List the hosts in the order of the groups: the JSON itself is sorted."""
    found: dict[str, None] = {}
    pending = ["all"]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        found |= dict.fromkeys(groups[name].hosts)
        pending.extend(reversed(groups[name].children))
    return tuple(check_address(host, "host name") for host in found)


def _variables(found: dict[str, Any]) -> dict[str, object]:
    """Take a host's variables; passwords that Ansible decrypted stop here."""
    return {name: _value(value) for name, value in found.items() if name not in SECRETS}


def _value(value: object) -> object:
    match value:
        case {"__ansible_vault": str(text)}:
            return Vaulted(text)
        case {"__ansible_unsafe": str(text)}:
            return UnsafeText(text)
        case dict():
            return {key: _value(content) for key, content in value.items()}
        case list():
            return [_value(content) for content in value]
    return value
