"""`orchestrate history`, `show` and `logs`: what was done, by which user, and how it ended.

They only read: no worker is started, no host is asked.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import msgspec

from orchestrator.cli import options
from orchestrator.cli.broker import open_journal
from orchestrator.cli.render.progress import JsonProgress, PlainProgress
from orchestrator.cli.render.tables import change, explained
from orchestrator.command import printable
from orchestrator.deploy.history import is_about, read_run, summaries
from orchestrator.errors import UsageError
from orchestrator.model.event import Progress
from orchestrator.model.store import derivation_name
from orchestrator.state.journal import Journal
from orchestrator.state.runs import find_run

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from orchestrator.cli.invocation import Invocation
    from orchestrator.cli.render.progress import ShowsEvents
    from orchestrator.deploy.history import RunSummary
    from orchestrator.model.event import Event
    from orchestrator.model.history import BuildRecord, HostRecord, RunRecord
    from orchestrator.model.plan import Origin, Plan
    from orchestrator.model.report import HostResult, SmokeReport

_RUN_HELP = "RUN is an id, the beginning of one, or `last`."


@options.command(
    "history",
    click.Argument(["wanted"], metavar="[TARGET]", required=False),
    options.BROKER,
    options.JSON,
)
def history(invocation: Invocation, wanted: str | None) -> int:
    """List the runs that are kept, the newest first: who, when, what, how it ended.

    With TARGET only those that meant one of its hosts, with a line for each of
    these. A run that found every host as it should be is one too.
    """
    invocation, as_json = replace(invocation, target=wanted or "all"), invocation.as_json
    with open_journal(invocation) as client:
        known = list(summaries(client, invocation.project))
        names = _names(invocation, known) if wanted else None
        for summary in known:
            if names is not None and not names & set(summary.header.targets):
                continue
            record = None
            if as_json or names is not None:
                record = read_run(Journal(client, summary.run))
            if as_json and record is not None:
                click.echo(msgspec.json.encode(as_data(summary, record, names)).decode())
            else:
                click.echo("\n".join(summary_lines(summary, record, names)))
    return 0


@options.command("show", options.RUN, options.BROKER, options.JSON, epilog=_RUN_HELP)
def show(invocation: Invocation, run: str) -> int:
    """Show what RUN did to each host, why, and how it ended; and its builds."""
    with open_journal(invocation) as client:
        record = read_run(Journal(client, find_run(client, run, invocation.project)))
    click.echo(msgspec.json.encode(record).decode() if invocation.as_json else describe(record))
    return 0


@options.command(
    "logs",
    options.RUN,
    click.Argument(["host"], required=False),
    options.BROKER,
    options.JSON,
    epilog=_RUN_HELP,
)
def logs(invocation: Invocation, run: str, host: str | None) -> int:
    """Print what happened in RUN, the builds' own lines too.

    With HOST only what happened to it, and the builds that it needed.
    """
    with open_journal(invocation) as client:
        journal = Journal(client, find_run(client, run, invocation.project))
        plan = journal.plan()
        events = [event for _, event in journal.events("0", 0.0)]
    if host is not None:
        events = of_host(events, host, plan)
    written = PlainProgress(sys.stdout, with_logs=True)
    shown: ShowsEvents = JsonProgress(sys.stdout) if invocation.as_json else written
    for event in events:
        # How far a copy was is of no use once it has ended.
        if invocation.as_json or not isinstance(event.body, Progress):
            shown.on_event(event)
    return 0


def of_host(events: Iterable[Event], host: str, plan: Plan) -> list[Event]:
    """Return the events of a host and its builds, or of a builder. Pure.

    Raises:
        UsageError: the run did not include this host.
    """
    known = dict.fromkeys((*plan.target_names, *(builder.name for builder in plan.builders)))
    if host not in known:
        message = f"run {plan.run} did not include {host}"
        raise UsageError(message, hint=f"it included: {', '.join(known)}")
    return [event for event in events if is_about(event, host, plan)]


def _names(invocation: Invocation, known: Iterable[RunSummary]) -> frozenset[str]:
    """Return the hosts that TARGET means; one that left the inventory still has a history.

    Raises:
        InventoryError: it matches none.
    """
    target = invocation.target
    if any(target in summary.header.targets for summary in known):
        return frozenset({target})
    return frozenset(host.name for host in invocation.hosts)


def as_data(
    summary: RunSummary, record: RunRecord, names: Collection[str] | None
) -> dict[str, Any]:
    """Return a run's line of `history --json`: all of its hosts, or those of `names`."""
    hosts = [host for host in record.hosts if names is None or host.host in names]
    return {
        "run": record.run,
        **msgspec.to_builtins(record.origin),
        "goal": record.goal,
        "ended_at": record.ended_at,
        "outcomes": summary.outcomes,
        "hosts": hosts,
    }


def summary_lines(
    summary: RunSummary, record: RunRecord | None, names: Collection[str] | None
) -> list[str]:
    """Render a run as one line, and one for each of the hosts `names`."""
    if summary.results is None:
        ended = f"not ended: {summary.next_step}"
    else:
        ended = ", ".join(f"{count} {outcome}" for outcome, count in summary.outcomes.items())
    lines = [f"{summary.run}  {_origin(summary.header.origin)}: {ended}"]
    if record is not None and names is not None:
        lines += [f"  {_host_line(host)}" for host in record.hosts if host.host in names]
    return [printable(line) for line in lines]


def _host_line(host: HostRecord) -> str:
    if host.result is None:
        return f"{host.host}: {host.stage or 'waiting'}"
    parts = [str(host.result.outcome)]
    if host.result.variant is not None:
        parts.append(f"{change(host.result.previous, host.result.current)}")
        parts.append(f"{host.result.variant} ({host.reason})")
    if host.smoke is not None:
        parts.append(_smoke(host.smoke))
    if host.result.message:
        parts.append(explained(host.host, host.result).splitlines()[0])
    return f"{host.host}: {', '.join(parts)}"


def describe(record: RunRecord) -> str:
    """Render a whole run for a reader."""
    if record.ended_at is None:
        ended = f"not ended: orchestrate resume {record.run}"
    else:
        ended = f"ended {_when(record.ended_at)}"
    lines = [f"run {record.run}", f"  {_origin(record.origin)}", f"  {ended}"]
    lines += [line for host in record.hosts for line in _host_lines(host)]
    if record.builds:
        lines += ["builds", *(line for build in record.builds for line in _build_lines(build))]
    return "\n".join(printable(line) for line in lines)


def _host_lines(host: HostRecord) -> list[str]:
    result = host.result
    lines = [f"{host.host}: {result.outcome if result else host.stage or 'waiting'}"]
    if result is not None and result.verdict is not None:
        lines.append(f"  verdict  {result.verdict}")
    if host.wanted is not None:
        previous = result.previous if result else None
        lines += [f"  from     {previous or 'no NixOS system'}", f"  to       {host.wanted}"]
    if result is not None and host.wanted not in (None, result.current):
        lines.append(f"  left at  {_left_at(result)}")
    if result is not None and result.variant is not None:
        lines.append(f"  variant  {result.variant}: {host.reason}")
    if host.smoke is not None:
        lines.append(f"  smoke    {_smoke(host.smoke)}")
    if result is not None and result.message:
        first, *others = explained(host.host, result).splitlines()
        lines += [f"  message  {first}", *(f"           {line}" for line in others)]
    if result is not None and result.failure is not None:
        lines += [f"           {line}" for line in result.failure.details]
    return lines


def _left_at(result: HostResult) -> str:
    if result.current is not None:
        return str(result.current)
    return "no NixOS system" if result.previous is None else "not known"


def _smoke(smoke: SmokeReport) -> str:
    if not smoke.passed:
        return f"failed: {smoke.failure}"
    speeds = f"{smoke.tokens_per_second} tokens/s, prompt {smoke.prompt_tokens_per_second}"
    return f"{smoke.backend}, {speeds}"


def _build_lines(build: BuildRecord) -> list[str]:
    done = build.state or "not begun"
    if build.seconds is not None:
        done = "was there" if build.was_valid else f"{build.seconds:.1f} s"
    lines = [f"  {derivation_name(build.derivation)} on {build.builder}: {done}"]
    if build.failure is not None:
        lines += [f"    {line}" for line in (build.failure.message, *build.failure.details)]
    return lines


def _origin(origin: Origin) -> str:
    author = origin.author or "an unknown user"
    return f"{_when(origin.started_at)}  {author}  {origin.command}".rstrip()


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
