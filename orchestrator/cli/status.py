"""`orchestrate status`: what runs on each host now, and how its last run ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click
import msgspec

from orchestrator.cli import options
from orchestrator.cli.broker import open_journal
from orchestrator.cli.facts import gather
from orchestrator.cli.render.tables import failure_lines
from orchestrator.deploy.history import OpenRun, how_to_go_on, read_open
from orchestrator.errors import Failure, OrchestrateError
from orchestrator.model.report import HostResult
from orchestrator.model.store import StorePath, store_hash
from orchestrator.state.journal import Journal
from orchestrator.state.runs import last_results, runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.facts import Facts


@dataclass(frozen=True, slots=True)
class Status:
    """One host now, beside what its last run left there.

    `drift` says in words how the two differ; empty if they don't. `open_run`
    is a run that has not ended with it, and where that is: such a host may
    still change, by `orchestrate resume` or by its own automatic rollback.
    """

    host: str
    running: StorePath | None
    boot_default: StorePath | None
    run: str
    result: HostResult | None
    drift: str
    error: str = ""
    failure: Failure | None = None
    open_run: OpenRun | None = None


@options.command("status", options.TARGET, options.BROKER, options.JSON)
def command(invocation: Invocation) -> int:
    """Ask each host what it runs, and say whether its last run left it so."""
    hosts = invocation.hosts
    answers = asyncio.run(gather(hosts))
    with open_journal(invocation) as client:
        last = last_results(client, invocation.project)
        open_runs = [
            run
            for run in runs(client, invocation.project)
            if not Journal(client, run).is_finished()
        ]
        held = {run: read_open(Journal(client, run)) for run in open_runs}
    # The oldest first: of two runs that hold a host open the newer one counts.
    opened = {name: one for run in reversed(open_runs) for name, one in held[run].items()}
    statuses = [
        replace(
            status_of(host.name, answer, *last.get(host.name, ("", None))),
            open_run=opened.get(host.name),
        )
        for host, answer in zip(hosts, answers, strict=True)
    ]
    if invocation.as_json:
        for status in statuses:
            click.echo(msgspec.json.encode(status).decode())
    else:
        click.echo(describe(statuses))
        for run in open_runs:
            click.echo(f"run {run} has not ended: {how_to_go_on(run, held[run])}")
    return 3 if any(status.error for status in statuses) else 0


def status_of(
    host: str, answer: Facts | OrchestrateError, run: str, result: HostResult | None
) -> Status:
    """Compare what a host says with what its last run left. Pure."""
    if isinstance(answer, OrchestrateError):
        return Status(host, None, None, run, result, "", str(answer), answer.failure)
    drift = ""
    left = result.current if result is not None else None
    if left is not None and left != answer.running_system:
        drift = "it runs another system than its last run left there"
    elif answer.running_system != answer.boot_default:
        drift = "it runs another system than it would boot"
    return Status(host, answer.running_system, answer.boot_default, run, result, drift)


def describe(statuses: Sequence[Status]) -> str:
    """Render the hosts for a reader."""
    lines = []
    for status in statuses:
        if status.failure is not None:
            lines += failure_lines(status.failure)
            continue
        running = store_hash(status.running)[:8] if status.running else "no NixOS system"
        last = f"{status.result.outcome} in run {status.run}" if status.result else "never deployed"
        lines.append(f"{status.host}: runs {running}, {last}")
        if status.drift:
            lines.append(f"  drift: {status.drift}")
        if status.open_run:
            lines.append(f"  {status.open_run.describe(status.running)}")
    return "\n".join(lines)
