"""A run from the command line: prepare it, drive it, say how it ended."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import click
import structlog

from orchestrator.cli.engine import go_on, open_broker, run_plan, workers
from orchestrator.cli.progress import open_progress, summary
from orchestrator.deploy.drive import run_finished
from orchestrator.deploy.journal import Journal
from orchestrator.deploy.prepare import new_run_id, send_derivations
from orchestrator.deploy.rollout import results
from orchestrator.deploy.survey import Surveyor
from orchestrator.model.report import Outcome, Verdict
from orchestrator.transport.connect import connections
from tasks.broker import open_client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inventory.host import Host
    from orchestrator.cli.invocation import Invocation
    from orchestrator.cli.progress import Progress
    from orchestrator.deploy.survey import Evaluator
    from orchestrator.model.event import Event
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import HostResult

log = structlog.get_logger()


class Preparing(Protocol):
    """How a command makes its plan: a survey and evaluation, or a look at generations."""

    async def __call__(
        self, surveyor: Surveyor, hosts: Sequence[Host]
    ) -> tuple[Plan, Evaluator | None]:
        """Make the plan, and name who holds its derivations where there are any."""
        ...


def run(invocation: Invocation, preparing: Preparing) -> int:
    """Prepare a run of the invocation's targets, drive it, and give the exit code."""
    hosts = invocation.hosts
    run_id = new_run_id()
    with ExitStack() as stack, open_progress(as_json=invocation.as_json) as progress:
        hear = _hearer(progress, invocation)

        async def preparation() -> tuple[Plan, str, Callable[[], None]]:
            broker, check = "", _nothing
            async with connections() as pool:
                surveyor = Surveyor(run_id, invocation.inventory, pool, invocation.workspace, hear)
                plan, evaluator = await preparing(surveyor, hosts)
                if plan.has_work:
                    # Broker and worker start while the derivations travel; a run
                    # with nothing to do needs neither.
                    broker = stack.enter_context(open_broker(invocation))
                    check = stack.enter_context(workers(invocation, broker))
                if plan.builds and evaluator is not None:
                    await send_derivations(surveyor, plan, evaluator)
                return plan, broker, check

        plan, broker, check = asyncio.run(preparation())
        if plan.has_work:
            ended = run_plan(broker, plan, hear, check)
        else:
            ended = results(plan, {})
            hear(run_finished(run_id, ended))
    return report(invocation, ended)


def _nothing() -> None:
    """Check nothing: a run without work has no worker."""


def resume(invocation: Invocation, run_id: str) -> int:
    """Go on with a run that was interrupted, and give the exit code."""
    with open_broker(invocation) as broker, open_progress(as_json=invocation.as_json) as progress:
        journal = Journal(open_client(broker), run_id)
        journal.plan()
        with workers(invocation, broker) as check:
            ended = go_on(broker, journal, _hearer(progress, invocation), check)
    return report(invocation, ended)


def report(invocation: Invocation, ended: dict[str, HostResult]) -> int:
    """Print the summary, unless the events were it, and give the exit code."""
    if not invocation.as_json:
        if all(result.outcome is Outcome.UNCHANGED for result in ended.values()):
            click.echo("nothing to do: every host runs and boots what it should")
        click.echo(summary(ended))
    return exit_code(ended)


def exit_code(ended: dict[str, HostResult]) -> int:
    """Give 0 when all is good, 3 when a host isn't, 4 when one needs hands."""
    if any(result.verdict in _HANDS for result in ended.values()):
        return 4
    good = all(result.outcome.is_good for result in ended.values())
    return 0 if good else 3


_HANDS = (Verdict.NEEDS_HANDS, Verdict.DEGRADED)


def _hearer(progress: Progress, invocation: Invocation) -> Callable[[Event], None]:
    """Show each event, and keep all but the chatter in the log."""
    _ = invocation.workspace

    def hear(event: Event) -> None:
        progress.hear(event)
        if event.event not in ("log_line", "progress"):
            bound = log.bind(run=event.run, host=event.host, stage=event.stage)
            bound.info(event.event, **event.data)

    return hear
