"""What one would type instead: bare commands in a shell, or a playbook of Ansible's.

They do what a deployment does to each host, and no more: copy, set the profile,
activate, and let llama-cli answer. Nothing is looked at before or confirmed after.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROFILE = "/nix/var/nix/profiles/system"
LLAMA_CLI = "/run/current-system/sw/bin/llama-cli"

NIX_COPY = "nix --extra-experimental-features nix-command copy --no-check-sigs"


def smoke_line(model: str, prompt: str, tokens: int) -> str:
    """Return the inference by which ours judges a host (smoke.sh), as one line."""
    options = f"-m {shlex.quote(model)} -p {shlex.quote(prompt)} -n {tokens}"
    return f"{LLAMA_CLI} {options} --temp 0 --seed 1 -ngl 99 -st </dev/null >/dev/null 2>&1"


def copy_line(builder: str, host: str, toplevel: str) -> str:
    """Return the copy of a system from its builder to a host."""
    return f"{NIX_COPY} --from ssh-ng://{builder} --to ssh-ng://{host} {toplevel}"


def switch_lines(toplevel: str) -> tuple[str, str]:
    """Return the two commands by which a host runs and boots a system."""
    set_profile = f"nix-env --profile {PROFILE} --set {toplevel}"
    return set_profile, f"{toplevel}/bin/switch-to-configuration switch"


def bare_script(
    builder: str, toplevels: Mapping[str, str], smoke: str, ssh: str, *, parallel: bool
) -> str:
    """Return the shell's loop over hosts: two logins each, one of them `nix copy`'s.

    Args:
        builder: the one that has the systems.
        toplevels: per host the system that it gets.
        smoke: the inference.
        ssh: the command that logs in to a host.
        parallel: whether every host goes at once, or one after another.
    """
    lines = []
    for host, toplevel in toplevels.items():
        there = shlex.quote(" && ".join((*switch_lines(toplevel), smoke)))
        whole = f"{copy_line(builder, host, toplevel)} && {ssh} {host} {there}"
        lines.append(f"{{ {whole}; }} &" if parallel else f"{{ {whole}; }}")
    return "\n".join((*lines, "wait"))


def plain_logins(hosts: tuple[str, ...], ssh: str) -> str:
    """Return the shell's way to log in to every host at once, and do nothing there."""
    return "\n".join((*(f"{ssh} {host} true &" for host in hosts), "wait"))


def playbook(builder: str, target: str, toplevels: Mapping[str, str], smoke: str) -> str:
    """Return the same steps as a play, on all hosts at once.

    The steps are `raw`: as NixOS comes, it has no Python for Ansible's modules, and
    without them Ansible is faster.
    """
    host, toplevel = "{{ inventory_hostname }}", "{{ toplevels[inventory_hostname] }}"
    steps: list[dict[str, Any]] = [
        {
            "name": "copy",
            "ansible.builtin.command": copy_line(builder, host, toplevel),
            "delegate_to": "localhost",
        },
        *({"name": "switch", "ansible.builtin.raw": line} for line in switch_lines(toplevel)),
        {"name": "smoke", "ansible.builtin.raw": smoke},
    ]
    play = {
        "hosts": target,
        "gather_facts": False,
        "serial": "100%",
        "vars": {"toplevels": dict(toplevels)},
        "tasks": steps,
    }
    return yaml.safe_dump([play], sort_keys=False)


def ansible_environment(ssh_config: Path, directory: Path, forks: int) -> dict[str, str]:
    """Return the settings that make Ansible quick: many forks, one connection a host.

    Each run has sockets of its own, so that none is logged in from the run before.
    """
    return {
        "ANSIBLE_FORKS": str(forks),
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_SSH_ARGS": f"-F {ssh_config} -o ControlMaster=auto -o ControlPersist=60s",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory),
        "NIX_SSHOPTS": f"-F {ssh_config}",
    }
