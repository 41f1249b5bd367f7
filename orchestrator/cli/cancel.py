"""`orchestrate cancel`: begin nothing more in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.engine import open_journal
from orchestrator.cli.invocation import Invocation, broker_option, inventory_option
from orchestrator.cli.resume import unfinished_run
from orchestrator.deploy.journal import Journal
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="cancel")
@click.argument("run", required=False)
@inventory_option
@broker_option
def command(run: str | None, inventory: Path, broker: str | None) -> int:
    """Begin nothing more in RUN, or in the last run that has not ended.

    Builds are stopped. A machine whose system has begun to change goes on to a
    decision: it is confirmed, or put back.
    """
    invocation = Invocation(inventory, broker_option=broker)
    wanted = run or unfinished_run(invocation)
    with open_journal(invocation) as client:
        journal = Journal(client, wanted)
        journal.plan()
        if journal.is_finished():
            message = f"run {wanted} has ended already"
            raise UsageError(message, hint="see `orchestrate status` for what it left")
        journal.cancel()
    click.echo(
        f"run {wanted} is cancelled: what has begun to switch is brought to an end,"
        " the rest is left alone\n"
        f"  next: where its controller is dead, orchestrate resume {wanted}"
    )
    return 0
