"""`orchestrate resume`: go on with a run whose controller died."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli import options
from orchestrator.cli.broker import open_journal
from orchestrator.cli.run import resume
from orchestrator.errors import UsageError
from orchestrator.state.journal import Journal
from orchestrator.state.runs import find_run, runs

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation


@options.command("resume", options.OPEN_RUN, options.ASK_BECOME_PASS, options.BROKER, options.JSON)
def command(invocation: Invocation, run: str | None) -> int:
    """Go on with RUN, or with the last run that has not ended."""
    return resume(invocation, meant_run(invocation, run))


def meant_run(invocation: Invocation, wanted: str | None) -> str:
    """Return the run that `wanted` means, or the newest that has not ended.

    Raises:
        UsageError: there is none.
    """
    with open_journal(invocation) as client:
        if wanted is not None:
            return find_run(client, wanted, invocation.project)
        for run in runs(client, invocation.project):
            if not Journal(client, run).is_finished():
                return run
    raise UsageError(
        message="every run of this project has ended", hint="start one with `orchestrate deploy`"
    )
