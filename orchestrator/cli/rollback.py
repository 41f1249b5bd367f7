"""`orchestrate rollback`: back to an earlier generation, guarded like a deployment."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from orchestrator.cli import options
from orchestrator.cli.run import run
from orchestrator.deploy.prepare.rollback import StateAfterRun, plan_rollback
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Host
    from orchestrator.cli.invocation import Invocation
    from orchestrator.deploy.prepare.survey import Evaluator, SurveyContext
    from orchestrator.model.plan import Plan


@options.command(
    "rollback",
    options.NAMED_TARGET,
    options.LIMIT,
    options.SERIAL,
    click.Option(
        ["--to"],
        metavar="GENERATION|RUN",
        help="A generation's number, or a run: go to what the host ran when that run had ended.",
    ),
    options.REBOOT,
    options.YES,
    options.ASK_BECOME_PASS,
    options.BROKER,
    options.JSON,
)
def command(invocation: Invocation, to: str | None) -> int:
    """Take each host back to its previous generation, or to another one.

    With a run (its id, the beginning of it, or `last`), each host goes to
    what it ran when that run had ended, rolled back or not; that system must
    still be in its store. Digits alone are a generation's number.

    The same guard as a deployment: automatic rollback, smoke test, confirmation.
    """
    return run(invocation, partial(_prepare, to=_meant(invocation, to)))


def _meant(invocation: Invocation, to: str | None) -> int | StateAfterRun | None:
    """Read `--to`.

    Raises:
        UsageError: there is no such run, or it has not ended.
    """
    if to is None:
        return None
    if to.isdecimal():
        return int(to)
    # A command that names no run doesn't pay for redis and a server here.
    from orchestrator.cli.broker import open_journal  # noqa: PLC0415
    from orchestrator.state.journal import Journal  # noqa: PLC0415
    from orchestrator.state.runs import find_run  # noqa: PLC0415

    with open_journal(invocation) as client:
        run_id = find_run(client, to, invocation.project)
        results = Journal(client, run_id).results()
    if results is None:
        message = f"run {run_id} has not ended: what it leaves isn't known yet"
        raise UsageError(message, hint=f"go on with `orchestrate resume {run_id}` first")
    return StateAfterRun(run_id, results)


async def _prepare(
    context: SurveyContext, hosts: Sequence[Host], *, to: int | StateAfterRun | None
) -> tuple[Plan, Evaluator | None]:
    return await plan_rollback(context, hosts, to), None
