"""`orchestrate init`: an inventory to begin with."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from inventory.read import read_inventory
from orchestrator.cli import options
from orchestrator.cli.hardware import hardware_of
from orchestrator.errors import OrchestrateError, UsageError
from orchestrator.stages.flake.flake import git_work_tree, template_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.cli.invocation import Invocation

_KEY_AND_TYPE = 2


@options.command(
    "init",
    click.Argument(["hosts"], nargs=-1, metavar="HOST[=ADDRESS]..."),
    click.Option(["--flake"], default=".", show_default=True, help="Your NixOS flake."),
    click.Option(
        ["--builder", "builders"], multiple=True, metavar="HOST[=ADDRESS]", help="A builder."
    ),
    click.Option(["--user"], default="root", show_default=True, help="The user to log in as."),
    click.Option(["--standalone"], is_flag=True, help="Write a NixOS flake for the hosts as well."),
    click.Option(
        ["--ssh-key"],
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="With --standalone: the public key that may log in as root.",
    ),
)
def command(  # noqa: PLR0913 - each is one option of the command line
    invocation: Invocation,
    hosts: tuple[str, ...],
    flake: str,
    builders: tuple[str, ...],
    *,
    user: str,
    standalone: bool,
    ssh_key: Path | None,
) -> int:
    """Write an inventory for HOSTs, and say what to do next.

    Builders are machines with Nix that the heavy builds go to; without one, the
    first host is its own builder. --standalone is for users without a flake:
    it writes a whole one beside the inventory, each machine a file in machines/, and its
    disks, as the machine itself names them, in hardware/.
    """
    inventory = invocation.inventory_path
    if inventory.exists():
        message = f"{inventory} exists already"
        raise UsageError(message, hint="edit it, or name another with --inventory")
    if not hosts:
        raise UsageError(
            message="no host was named",
            hint="for example: orchestrate init carbon=192.0.2.10 nitrogen --builder forge",
        )
    key = _public_key(ssh_key)
    if standalone:
        _refuse_standalone(inventory.parent, flake, user)
    inventory.write_text(inventory_text(hosts, builders, flake, user), encoding="utf-8")
    described = read_inventory(inventory)
    if standalone:
        hardware = asyncio.run(hardware_of(described.targets))
        names = {host.nixos_name: hardware[host.name] for host in described.targets}
        for file in write_standalone(inventory.parent, names, key):
            click.echo(f"{file}: to be edited")
        if git_work_tree(inventory.parent.resolve()):
            click.echo("Nix sees only what git tracks: git add --all")
    click.echo(f"{inventory} describes {len(hosts)} hosts. Next:")
    click.echo("  orchestrate trust     # verify the host keys")
    click.echo("  orchestrate doctor    # is everything there that a deployment needs?")
    click.echo("  orchestrate plan      # what would be deployed, and why")
    click.echo("  orchestrate deploy")
    return 0


def write_standalone(
    directory: Path, machines_found: Mapping[str, str | OrchestrateError], key: str
) -> tuple[Path, ...]:
    """Write a NixOS flake with a machine for each name; return what its owner has to edit.

    Without a key no machine of it evaluates: its first deployment would lock
    every user out. Nor does one whose disks aren't known.

    Args:
        directory: the flake's.
        machines_found: the names, each with the machine's hardware configuration, or why
            there is none.
        key: the line of authorized_keys; empty for none.
    """
    template = template_directory() / "standalone"
    machines, hardware = directory / "machines", directory / "hardware"
    for folder in (machines, hardware):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(template / "flake.nix", directory / "flake.nix")
    keys = directory / "authorized_keys"
    explained = (template / keys.name).read_text(encoding="utf-8")
    keys.write_text(explained + key, encoding="utf-8")
    edited = []
    for name, found in machines_found.items():
        for folder in (machines, hardware):
            text = (template / folder.name / "example.nix").read_text(encoding="utf-8")
            file = folder / f"{name}.nix"
            known = folder is hardware and isinstance(found, str)
            file.write_text(
                str(found) if known else text.replace("example.nix", file.name), encoding="utf-8"
            )
            if not known:
                edited.append(file)
        if isinstance(found, OrchestrateError):
            click.echo(f"{name}: its disks are not known: {found.message}", err=True)
    return tuple(edited) if key else (keys, *edited)


def _refuse_standalone(directory: Path, flake: str, user: str) -> None:
    if user != "root":
        message = "--standalone writes machines that only root can log in to"
        raise UsageError(message, hint="leave out --user; add users to the machines later")
    if flake != ".":
        message = "--standalone writes the flake beside the inventory; --flake names another"
        raise UsageError(message, hint="leave out one of the two")
    names = ("flake.nix", "machines", "hardware", "authorized_keys")
    for file in (directory / name for name in names):
        if file.exists():
            message = f"{file} exists already"
            raise UsageError(message, hint="leave out --standalone to use the flake that is there")


def _public_key(file: Path | None) -> str:
    if file is None:
        return ""
    text = file.read_text(encoding="utf-8", errors="replace").strip()
    if "PRIVATE KEY" in text or len(text.split()) < _KEY_AND_TYPE:
        message = f"{file} holds no public key"
        raise UsageError(message, hint="a public key's file ends in .pub")
    return f"{text}\n"


def inventory_text(hosts: tuple[str, ...], builders: tuple[str, ...], flake: str, user: str) -> str:
    """Return the inventory's text: Ansible's YAML, with our variables."""
    targets = dict(_host(host) for host in hosts)
    building = dict(_host(host) for host in builders)
    own_builder = {"systems": ["x86_64-linux"], "features": ["big-parallel"]}
    for entry in building.values():
        entry["orchestrate_builder"] = own_builder
    if not building:
        first = next(iter(targets.values()))
        first |= {"orchestrate_builder": own_builder, "orchestrate_deploy": True}
    groups = {"targets": targets} | ({"builders": building} if building else {})
    document = {
        "all": {
            "vars": {"ansible_user": user, "orchestrate_flake": flake},
            "children": {name: {"hosts": entries} for name, entries in groups.items()},
        }
    }
    return yaml.safe_dump(document, sort_keys=False)


def _host(text: str) -> tuple[str, dict[str, object]]:
    name, _, address = text.partition("=")
    return name, {"ansible_host": address} if address else {}
