"""The broker of a command: the configured one, or a private one."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from orchestrator.deploy.import_spool import import_spooled_runs
from orchestrator.state.build_ledger import BuildLedger
from orchestrator.state.quarantine import Quarantine
from orchestrator.workspace import spool_directory, state_home
from tasks.broker import check_broker, open_client, private_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.ledger import Ledger


@contextmanager
def open_broker(invocation: Invocation) -> Iterator[str]:
    """Yield the URL of the broker: the configured one, or a private one for us.

    Raises:
        UsageError: it can't be used.
    """
    with ExitStack() as stack:
        configured = invocation.broker
        url = configured or stack.enter_context(private_server(state_home() / "broker"))
        check_broker(open_client(url))
        import_spooled_runs(open_client(url), spool_directory(configured))
        yield url


def ledger_of(invocation: Invocation) -> Ledger:
    """Read the ledger on the broker of this invocation, which opens for that."""
    with open_broker(invocation) as url:
        return ledger_at(url, again=invocation.again)


def ledger_at(url: str, *, again: bool) -> Ledger:
    """Read what earlier runs know of builds and smoke tests; `again` asks no quarantine."""
    client = open_client(url)
    quarantined = {} if again else Quarantine(client).read()
    return replace(BuildLedger(client).read(), quarantined=quarantined)


@contextmanager
def open_journal(invocation: Invocation) -> Iterator[redis.Redis]:
    """Yield a client on the broker, to read what runs have left there."""
    with open_broker(invocation) as url:
        yield open_client(url)


def warn_of(risk: str) -> None:
    """Warn the user of a risk, if there is one."""
    if risk:
        click.echo(f"orchestrate: warning: {risk}", err=True)
