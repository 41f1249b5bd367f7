"""`orchestrate workers`: what each serves and is busy with, and which queues no worker serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from orchestrator.cli import options
from orchestrator.cli.broker import open_journal
from orchestrator.command import printable
from orchestrator.model.journal import Step
from orchestrator.model.store import DerivationPath, derivation_name
from orchestrator.state.workers import Cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.cluster import QueueState, Work, Worker


@options.command("workers", options.BROKER, options.JSON)
def command(invocation: Invocation) -> int:
    """List the broker's workers, and the queues that no worker serves."""
    with open_journal(invocation) as client:
        cluster = Cluster(client)
        workers = cluster.workers()
        queues = cluster.queues(workers)
        now = cluster.now()
    if invocation.as_json:
        for line in (*(_worker_line(worker) for worker in workers), *map(_queue_line, queues)):
            click.echo(msgspec.json.encode(line).decode())
    else:
        click.echo("\n".join(describe(workers, queues, now)))
    return 0


def describe(workers: Sequence[Worker], queues: Sequence[QueueState], now: float) -> list[str]:
    """Render workers and missed queues for a reader; `now` is seconds since the epoch. Pure."""
    lines = [line for worker in workers for line in _describe_worker(worker, now)]
    lines = lines or ["no worker is there"]
    for state in queues:
        if state.is_missed:
            lines.append(f"no worker serves {state.queue}: {_missed_by(state)}")
            lines.append(f"  next: orchestrate worker --serve {state.queue}")
    return [printable(line) for line in lines]


def _describe_worker(worker: Worker, now: float) -> list[str]:
    busy = f"{len(worker.busy)} of {worker.concurrency} busy"
    up = f"up {_span(now - worker.started_at)}, version {worker.version}"
    return [
        f"{worker.name}: {busy}, {up}",
        f"  serves {', '.join(worker.queues)}",
        *(f"  {_describe_work(work, now)}" for work in worker.busy),
    ]


def _describe_work(work: Work, now: float) -> str:
    is_build = work.step == Step.BUILD
    subject = derivation_name(DerivationPath(work.subject)) if is_build else work.subject
    return f"{work.step} {subject} for {_span(now - work.since)}, run {work.run}"


def _missed_by(state: QueueState) -> str:
    waiting = (
        [f"{state.waiting} message{'s' if state.waiting > 1 else ''}"] if state.waiting else []
    )
    return f"waited for by {', '.join((*waiting, *(f'run {run}' for run in state.needed_by)))}"


def _span(seconds: float) -> str:
    """Render a duration in the largest unit that there is more than one of."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


def _worker_line(worker: Worker) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(worker)
    return {"worker": data.pop("name"), **data}


def _queue_line(state: QueueState) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(state)
    return {**data, "missed": state.is_missed}
