"""A run from the command line: survey, plan, begin, drive, report.

Only a command that has something to do pays for an engine: Celery, redis and fabric take
a quarter of a second to import on a small host, and a private server has to start.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import structlog

from orchestrator.cli.consent import ask_become_password, ask_before, ask_to_begin
from orchestrator.cli.origin import origin_of
from orchestrator.cli.render.progress import open_progress
from orchestrator.cli.report import exit_code, report
from orchestrator.cli.unchanged import UnchangedRun
from orchestrator.deploy.perform.runtime import process_runtime
from orchestrator.deploy.prepare.prepare import new_run_id, send_derivations
from orchestrator.deploy.prepare.survey import SurveyContext
from orchestrator.deploy.prepare.upgrade import settle_lock
from orchestrator.model.event import Event, LogLine, Progress, RunFinished, event_now
from orchestrator.model.plan import CopyTerms
from orchestrator.model.stage import Stage
from orchestrator.stages.plan.batches import reboots_of
from orchestrator.stages.plan.reboot_need import reboots_needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inventory.host import Host
    from orchestrator.cli.engine import Engine
    from orchestrator.cli.invocation import Invocation
    from orchestrator.cli.render.progress import ShowsEvents
    from orchestrator.deploy.perform.runtime import Runtime
    from orchestrator.deploy.prepare.survey import Evaluator
    from orchestrator.model.ledger import Ledger
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import HostResult

log = structlog.get_logger()

OnEvent = Callable[[Event], None]

_EVENTS_OF_A_PLAN = 5000
"""How many of the events of making a plan are kept with the run: the last ones."""


class Preparing(Protocol):
    """How a command makes its plan: a survey and evaluation, or a look at generations."""

    async def __call__(
        self, context: SurveyContext, hosts: Sequence[Host]
    ) -> tuple[Plan, Evaluator | None]:
        """Make the plan, and name the evaluator that has its derivations, if there are any."""
        ...


class Begun(Protocol):
    """A run that has begun: in a journal, or with nothing to do."""

    @property
    def plan(self) -> Plan:
        """What it does."""
        ...

    def drive(self, on_event: OnEvent) -> dict[str, HostResult]:
        """Bring it to its end."""
        ...


def run(invocation: Invocation, preparing: Preparing) -> int:
    """Survey the targets and plan, begin the run, drive it, report how it ended."""
    may_reboot = ask_before(invocation)
    with _started(invocation) as command:
        plan = command.survey_and_plan(preparing, may_reboot)
        begun = command.begin(plan)
        ended = command.drive(begun)
    return report(ended, as_json=invocation.as_json)


def resume(invocation: Invocation, run_id: str) -> int:
    """Go on with a run that was interrupted: drive it, report how it ended."""
    ask_become_password(invocation)
    with _started(invocation) as command:
        begun = command.engine().resume(run_id)
        ended = command.drive(begun)
    return report(ended, as_json=invocation.as_json)


@contextmanager
def _started(invocation: Invocation) -> Iterator[_Command]:
    """Provide a command's connections, its display and, once it asks for one, its engine."""
    # The log has to be there before a worker is.
    _ = invocation.workspace
    with (
        closing(process_runtime()) as runtime,
        ExitStack() as opened,
        open_progress(as_json=invocation.as_json) as shown,
    ):
        yield _Command(invocation, runtime, shown, opened)


class _Command:
    """A command at work.

    Args:
        invocation: what the user asked for.
        runtime: its connections.
        shown: shows events to the user.
        opened: what ends with it.
    """

    def __init__(
        self, invocation: Invocation, runtime: Runtime, shown: ShowsEvents, opened: ExitStack
    ) -> None:
        self.invocation = invocation
        self.runtime = runtime
        self.shown = shown
        self.opened = opened
        self.planning = deque[Event](maxlen=_EVENTS_OF_A_PLAN)
        self._engine: Engine | None = None

    def survey_and_plan(self, preparing: Preparing, may_reboot: Sequence[str]) -> Plan:
        """Look at the targets and decide the whole run; no host is changed.

        Raises:
            OrchestrateError: no plan can be made.
        """
        plan = self.runtime.run_here(self._prepare(preparing, may_reboot))
        if self.invocation.broker is not None:
            # A cluster's workers have connections of their own.
            self.runtime.run(self.runtime.pool.close())
        return plan

    def begin(self, plan: Plan) -> Begun:
        """Write the run into a journal, unless it has nothing to do."""
        if plan.has_work:
            return self.engine().begin(plan, self.planning)
        return UnchangedRun(plan, tuple(self.planning), self.invocation)

    def drive(self, begun: Begun) -> dict[str, HostResult]:
        """Bring a run to its end; settle an upgrade's lock before the event of its end.

        Raises:
            OrchestrateError: the lock of one that ended well can't be kept.
        """
        upgrade = begun.plan.upgrade
        if upgrade is None:
            return begun.drive(self.on_event)
        last: list[Event] = []
        ended = begun.drive(
            lambda event: last.append(event) if _is_end(event) else self.on_event(event)
        )
        try:
            good, run_id = exit_code(ended) == 0, begun.plan.run
            settled = self.runtime.run(settle_lock(self.runtime.pool, run_id, upgrade, good=good))
            self.on_event(event_now(run_id, "", "", settled))
        finally:
            for event in last:
                self.on_event(event)
        return ended

    def on_event(self, event: Event) -> None:
        """Show an event, and log it unless it is a line of a build or a copy's progress."""
        self.shown.on_event(event)
        if not isinstance(event.body, LogLine | Progress):
            line = event.line()
            del line["ts"]
            log.info(line.pop("event"), **line)

    def engine(self) -> Engine:
        """Return the engine, which starts when it is first asked for."""
        if self._engine is None:
            from orchestrator.cli.engine import open_engine  # noqa: PLC0415 - see above

            self._engine = self.opened.enter_context(open_engine(self.invocation))
        return self._engine

    async def _prepare(self, preparing: Preparing, may_reboot: Sequence[str]) -> Plan:
        context = self._survey_context(may_reboot)
        plan, evaluator = await preparing(context, self.invocation.hosts)
        plan = self._decided(plan, may_reboot)
        for host, needed in reboots_needed(plan):
            context.emit(host, Stage.PLAN, needed)
        # In a thread: connections go on while the user thinks.
        with self.shown.stepping_aside():
            await asyncio.to_thread(ask_to_begin, plan, self.invocation)
        if plan.has_work:
            # While derivations travel, and not after that.
            self.engine()
        if plan.builds and evaluator is not None:
            await send_derivations(context, plan, evaluator)
        return plan

    def _survey_context(self, may_reboot: Sequence[str]) -> SurveyContext:
        return SurveyContext(
            run=new_run_id(),
            inventory=self.invocation.inventory,
            pool=self.runtime.pool,
            workspace=self.invocation.workspace,
            on_event=self._planned,
            update_inputs=self.invocation.update_inputs,
            read_ledger=self._ledger,
            goal=self.invocation.goal,
            retry_failed=self.invocation.retry_failed,
            may_reboot=tuple(may_reboot),
        )

    def _planned(self, event: Event) -> None:
        """Keep what happens while the plan is made for the journal, too."""
        self.planning.append(event)
        self.on_event(event)

    def _ledger(self) -> Ledger:
        # It is asked for if something has to be done: then all starts, while builders
        # are looked at.
        return self.engine().ledger(again=self.invocation.again)

    def _decided(self, plan: Plan, may_reboot: Sequence[str]) -> Plan:
        """Add what the command line says to a plan."""
        terms = CopyTerms(
            check_signatures=self.invocation.check_signatures,
            fanout=self.invocation.fanout,
            limits=self.invocation.inventory.fleet.copies,
        )
        reboots = reboots_of(self.invocation.inventory, may_reboot)
        return replace(plan, terms=terms, origin=origin_of(self.invocation), reboots=reboots)


def _is_end(event: Event) -> bool:
    return isinstance(event.body, RunFinished)
