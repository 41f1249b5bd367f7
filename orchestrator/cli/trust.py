"""`orchestrate trust`: compare host keys once, and record them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from orchestrator.cli import options
from orchestrator.errors import OrchestrateError
from orchestrator.transport.trust import KeyState, record_key, shown_key

if TYPE_CHECKING:
    from inventory.host import Host
    from orchestrator.cli.invocation import Invocation


@options.command(
    "trust",
    click.Argument(["target"], default="all"),
    options.YES,
)
def command(invocation: Invocation) -> int:
    """Show the host key of each host and record it, once you have compared it.

    Compare with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` says on
    the host itself. A key that differs from the recorded one is never replaced.
    """
    # One after the other: the key of a jump host is recorded before it is used.
    trusted = [_trust(host, yes=invocation.yes) for host in _jump_hosts_first(invocation)]
    return 0 if all(trusted) else 3


def _jump_hosts_first(invocation: Invocation) -> list[Host]:
    hosts = invocation.inventory.hosts if invocation.target == "all" else invocation.hosts
    return sorted(hosts, key=lambda host: host.connection.jump is not None)


def _trust(host: Host, *, yes: bool) -> bool:
    try:
        key = asyncio.run(shown_key(host))
    except OrchestrateError as error:
        click.echo(str(error), err=True)
        return False
    shown = f"{key.host} ({key.pattern}) shows {key.algorithm} {key.fingerprint}"
    if key.state is KeyState.KNOWN:
        click.echo(f"{shown}: known")
        return True
    if key.state is KeyState.CHANGED:
        click.echo(f"{shown}: ANOTHER KEY IS RECORDED", err=True)
        click.echo("  next: find out why; then remove the old key with ssh-keygen -R", err=True)
        return False
    if not yes and not click.confirm(f"{shown}. Is it this host's?"):
        return False
    record_key(host.connection, key)
    click.echo(f"{shown}: recorded")
    return True
