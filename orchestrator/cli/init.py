"""`orchestrate init`: an inventory to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import yaml

from inventory.read import read_inventory
from orchestrator.cli.invocation import inventory_option
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="init")
@click.argument("hosts", nargs=-1, metavar="HOST[=ADDRESS]...")
@click.option("--flake", default=".", show_default=True, help="Your NixOS flake.")
@click.option("--builder", "builders", multiple=True, metavar="HOST[=ADDRESS]", help="A builder.")
@click.option("--user", default="root", show_default=True, help="The user to log in as.")
@inventory_option
def command(
    hosts: tuple[str, ...], flake: str, builders: tuple[str, ...], user: str, inventory: Path
) -> int:
    """Write an inventory for HOSTs, and say what to do next.

    Builders are machines with Nix that the heavy builds go to; without one, the
    first host is made its own builder.
    """
    if inventory.exists():
        message = f"{inventory} exists already"
        raise UsageError(message, hint="edit it, or name another with --inventory")
    if not hosts:
        raise UsageError(
            message="no host was named",
            hint="for example: orchestrate init carbon=192.0.2.10 nitrogen --builder forge",
        )
    inventory.write_text(inventory_text(hosts, builders, flake, user), encoding="utf-8")
    read_inventory(inventory)
    click.echo(f"{inventory} describes {len(hosts)} hosts. Next:")
    click.echo("  orchestrate trust     # are they who they should be?")
    click.echo("  orchestrate doctor    # is everything there that a deployment needs?")
    click.echo("  orchestrate plan      # what would be deployed, and why")
    click.echo("  orchestrate deploy")
    return 0


def inventory_text(hosts: tuple[str, ...], builders: tuple[str, ...], flake: str, user: str) -> str:
    """Give the inventory's text: Ansible's YAML, with our variables."""
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
