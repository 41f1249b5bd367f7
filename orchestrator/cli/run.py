"""A run from the command line: prepare it, drive it, say how it ended."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Protocol

import click
import structlog

from orchestrator.cli.invocation import ask_become_password, ask_for_reboots
from orchestrator.cli.render.progress import open_progress
from orchestrator.cli.render.tables import summary
from orchestrator.deploy.perform.runtime import process_runtime
from orchestrator.deploy.prepare.prepare import new_run_id, send_derivations
from orchestrator.deploy.prepare.survey import Surveyor
from orchestrator.deploy.prepare.upgrade import settle_lock
from orchestrator.deploy.rollout.run import Run
from orchestrator.deploy.spool import SpooledRun, spool_run
from orchestrator.errors import UsageError
from orchestrator.model.event import (
    Event,
    LogLine,
    Progress,
    RebootNeeded,
    RunFinished,
    event_now,
)
from orchestrator.model.plan import Action, CopyTerms, Origin
from orchestrator.model.report import Outcome, Verdict
from orchestrator.model.stage import Stage
from orchestrator.stages.plan.batches import reboots_of
from orchestrator.stages.plan.reboot_need import reboot_note
from orchestrator.workspace import spool_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inventory.host import Host
    from orchestrator.cli.engine import Engine, OnEvent
    from orchestrator.cli.invocation import Invocation
    from orchestrator.cli.render.progress import ShowsEvents
    from orchestrator.deploy.prepare.survey import Evaluator
    from orchestrator.model.ledger import Ledger
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import HostResult
    from orchestrator.transport.connect import ConnectionPool

log = structlog.get_logger()


_BROKER_SECONDS = 2.0
"""How long a run that had nothing to do waits for a broker to remember it."""


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
    ask_become_password(invocation)
    _warn_of_unsigned(invocation)
    may_reboot = ask_for_reboots(invocation)
    run_id = new_run_id()
    runtime = process_runtime()
    with (
        closing(runtime),
        ExitStack() as stack,
        open_progress(as_json=invocation.as_json) as progress,
    ):
        on_event = _shown_and_logged(progress, invocation)
        planning = _Planning(on_event)

        @cache
        def opened() -> Engine:
            return stack.enter_context(_open_engine(invocation))

        def ledger() -> Ledger:
            # Who asks has something to do: all starts while builders are looked at.
            return _ledger_at(opened().broker, invocation)

        async def preparation() -> tuple[Plan, Engine | None]:
            surveyor = _surveyor(run_id, invocation, runtime.pool, planning.on_event, ledger)
            plan, evaluator = await preparing(surveyor, hosts)
            for event in reboot_events(plan, may_reboot):
                planning.on_event(event)
            engine = opened() if plan.has_work else None
            if plan.builds and evaluator is not None:
                await send_derivations(surveyor, plan, evaluator)
            return plan, engine

        plan, engine = runtime.run_here(preparation())
        if invocation.broker is not None:
            # A cluster's workers have connections of their own.
            runtime.run(runtime.pool.close())
        decided = _decided(invocation, plan, may_reboot)
        begin = engine.run if engine else partial(_end, invocation)
        ended = _to_its_end(decided, on_event, partial(begin, decided, planning.events))
    return report(invocation, ended)


def _warn_of_unsigned(invocation: Invocation) -> None:
    if not invocation.check_signatures:
        click.echo(
            "orchestrate: --no-check-sigs: the targets take closures that nobody vouches for",
            err=True,
        )


@dataclass(frozen=True, slots=True)
class _Planning:
    """Shows the events of making a plan, and keeps the last of them for the journal."""

    show: Callable[[Event], None]
    events: deque[Event] = field(default_factory=partial(deque, maxlen=5000))

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self.show(event)


def _end(
    invocation: Invocation, plan: Plan, planning: Sequence[Event], on_event: OnEvent
) -> dict[str, HostResult]:
    """End a run that has nothing to do."""
    ended = Run(plan, {}).results
    finish = event_now(plan.run, "", "", RunFinished(ended))
    on_event(finish)
    _remember(invocation, SpooledRun(plan, ended, (*planning, finish)))
    return ended


def _to_its_end(
    plan: Plan, on_event: OnEvent, drive: Callable[[OnEvent], dict[str, HostResult]]
) -> dict[str, HostResult]:
    """Drive a run; settle the lock of an upgrade before the event of its end, the last one.

    Raises:
        OrchestrateError: the lock of one that ended well can't be kept.
    """
    if plan.upgrade is None:
        return drive(on_event)
    last: list[Event] = []
    ended = drive(lambda event: last.append(event) if _is_end(event) else on_event(event))
    try:
        good = exit_code(ended) == 0
        runtime = process_runtime()
        settled = runtime.run(settle_lock(runtime.pool, plan.run, plan.upgrade, good=good))
        on_event(event_now(plan.run, "", "", settled))
    finally:
        for event in last:
            on_event(event)
    return ended


def _is_end(event: Event) -> bool:
    return isinstance(event.body, RunFinished)


def reboot_events(plan: Plan, may_reboot: Sequence[str]) -> list[Event]:
    """Make an event for each changing host that needs a reboot, before anything is touched.

    Args:
        plan: the run's.
        may_reboot: the hosts that reboot in it where they need to.
    """
    found = []
    for host in plan.hosts:
        note = reboot_note(host, plan.goal, allowed=host.name in may_reboot)
        if note and host.action is Action.DEPLOY:
            needed = RebootNeeded(host.reboot_for, host.reboot_unknown, note)
            found.append(event_now(plan.run, host.name, Stage.PLAN, needed))
    return found


def _decided(invocation: Invocation, plan: Plan, may_reboot: Sequence[str]) -> Plan:
    """Give a plan with what the command line says of it."""
    terms = CopyTerms(
        check_signatures=invocation.check_signatures,
        fanout=invocation.fanout,
        limits=invocation.inventory.fleet.copies,
    )
    reboots = reboots_of(invocation.inventory, may_reboot)
    return replace(plan, terms=terms, origin=origin_of(invocation), reboots=reboots)


def _remember(invocation: Invocation, ended: SpooledRun) -> None:
    """Keep a run that had nothing to do.

    Nobody pays for a private server: whoever starts it next brings it the run. A
    broker that others share is told at once, unless it isn't there.
    """
    try:
        spool_run(spool_directory(invocation.broker), ended)
    except OSError as error:
        # How the run ended is known, and says more than a disk that is full.
        log.warning("the run is not remembered", error=str(error))
        return
    if invocation.broker is None:
        return
    from orchestrator.cli.broker import open_journal  # noqa: PLC0415 - see ledger_of
    from tasks.broker import answers  # noqa: PLC0415

    try:
        if answers(invocation.broker, _BROKER_SECONDS):
            with open_journal(invocation):
                return
    except UsageError as error:
        log.warning("the broker can't be used", **asdict(error.failure))
    log.warning("the run is remembered once the broker answers", run=ended.plan.run)


def _surveyor(
    run_id: str,
    invocation: Invocation,
    pool: ConnectionPool,
    on_event: OnEvent,
    ledger: Callable[[], Ledger],
) -> Surveyor:
    return Surveyor(
        run_id,
        invocation.inventory,
        pool,
        invocation.workspace,
        on_event,
        invocation.update_inputs,
        ledger,
        invocation.goal,
        invocation.retry_failed,
    )


def origin_of(invocation: Invocation) -> Origin:
    """Say who runs this command, with what and when."""
    # Who has become root by sudo is still who he was (sudo(8)).
    user = os.environ.get("SUDO_USER") or getpass.getuser()
    command = click.get_current_context().info_name or ""
    limit = f"--limit {invocation.limit}" if invocation.limit else ""
    return Origin(
        author=f"{user}@{socket.gethostname()}",
        started_at=time.time(),
        command=" ".join(part for part in (command, invocation.target, limit) if part),
        keep_days=invocation.configuration.keep_days,
    )


def ledger_of(invocation: Invocation) -> Ledger:
    """Read what earlier runs know of builds and smokes, on the broker of this invocation."""
    # Only who has something to build pays for redis and a server.
    from orchestrator.cli.broker import open_broker  # noqa: PLC0415

    with open_broker(invocation) as broker:
        return _ledger_at(broker, invocation)


def _ledger_at(broker: str, invocation: Invocation) -> Ledger:
    from orchestrator.state.build_ledger import BuildLedger  # noqa: PLC0415 - see ledger_of
    from orchestrator.state.quarantine import Quarantine  # noqa: PLC0415
    from tasks.broker import open_client  # noqa: PLC0415

    client = open_client(broker)
    quarantined = {} if invocation.again else Quarantine(client).read()
    return replace(BuildLedger(client).read(), quarantined=quarantined)


def resume(invocation: Invocation, run_id: str) -> int:
    """Go on with a run that was interrupted, and give the exit code."""
    # Whose log has to be there before the worker is.
    _ = invocation.workspace
    ask_become_password(invocation)
    with (
        closing(process_runtime()),
        _open_engine(invocation) as engine,
        open_progress(as_json=invocation.as_json) as progress,
    ):
        on_event = _shown_and_logged(progress, invocation)
        ended = _to_its_end(engine.plan(run_id), on_event, partial(engine.resume, run_id))
    return report(invocation, ended)


@contextmanager
def _open_engine(invocation: Invocation) -> Iterator[Engine]:
    # Celery, redis and fabric take a quarter of a second to import on a small machine,
    # which a run with nothing to do doesn't pay.
    from orchestrator.cli.engine import open_engine  # noqa: PLC0415

    with open_engine(invocation) as engine:
        yield engine


def report(invocation: Invocation, ended: dict[str, HostResult]) -> int:
    """Print the summary, unless the events were it, and give the exit code."""
    if not invocation.as_json:
        if all(result.outcome is Outcome.UNCHANGED for result in ended.values()):
            click.echo("nothing to do: every host runs and boots what it should")
        click.echo(summary(ended))
    return exit_code(ended)


def exit_code(ended: dict[str, HostResult]) -> int:
    """Give 0 when all is good, 3 when a host isn't, 4 when one needs manual repair."""
    if any(result.verdict in _NEED_REPAIR for result in ended.values()):
        return 4
    good = all(result.outcome.is_good for result in ended.values())
    return 0 if good else 3


_NEED_REPAIR = (Verdict.NEEDS_REPAIR, Verdict.DEGRADED)


def _shown_and_logged(shown: ShowsEvents, invocation: Invocation) -> OnEvent:
    """Return what shows each event, and logs all but the lines and bytes of builds and copies."""
    _ = invocation.workspace

    def on_event(event: Event) -> None:
        shown.on_event(event)
        if not isinstance(event.body, LogLine | Progress):
            line = event.line()
            del line["ts"]
            log.info(line.pop("event"), **line)

    return on_event
