"""What the lab tells others about its hosts: Ansible inventory, ssh_config, known_hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.lab.host import Host


def inventory(
    hosts: Iterable[Host],
    fleet_vars: Mapping[str, Any],
    host_vars: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Describe the lab in Ansible's YAML shape, as Python data."""
    hosts = tuple(hosts)
    described = {host.name: _variables(host) | dict(host_vars.get(host.name, {})) for host in hosts}
    groups: dict[str, dict[str, Any]] = {
        "targets": {host.name: {} for host in hosts if not host.spec.is_builder},
        "builders": {host.name: {} for host in hosts if host.spec.is_builder},
    }
    children = {name: {"hosts": members} for name, members in groups.items()}
    return {"all": {"vars": dict(fleet_vars), "hosts": described, "children": children}}


def _variables(host: Host) -> dict[str, Any]:
    variables: dict[str, Any] = {"ansible_host": host.address, "ansible_user": host.spec.user}
    if host.spec.sudo:
        variables |= {"ansible_become": True, "ansible_become_method": "sudo"}
    if host.spec.jump:
        variables["orchestrate_jump"] = host.spec.jump
    if host.spec.is_builder:
        variables["orchestrate_builder"] = {
            "systems": ["x86_64-linux"],
            "features": list(host.spec.features),
            "max_jobs": 2,
        }
    return variables


def known_hosts(hosts: Iterable[Host]) -> str:
    """Return the host keys, by name and by each address."""
    return "".join(
        f"{','.join((host.name, *host.addresses))} {host.public_host_key}\n" for host in hosts
    )


def ssh_config(hosts: Iterable[Host], *, private_key: Path, known: Path) -> str:
    """Return an ssh_config by which `ssh -F … NAME` reaches each host as its user."""
    stanzas = [
        f"""Host *
  IdentityFile {private_key}
  IdentitiesOnly yes
  UserKnownHostsFile {known}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 5
  LogLevel ERROR
"""
    ]
    for host in hosts:
        jump = f"  ProxyJump {host.spec.jump}\n" if host.spec.jump else ""
        stanzas.append(
            f"Host {host.name}\n  HostName {host.address}\n  User {host.spec.user}\n{jump}"
        )
    return "".join(stanzas)
