"""The engine of a command: a broker, and a worker of its own if that is private."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis
from kombu.exceptions import OperationalError

from orchestrator.cli.broker import ledger_at, open_broker, warn_of
from orchestrator.deploy.drive.drive import drive, others_work
from orchestrator.errors import RunInterruptedError
from orchestrator.model.cluster import LONGEST_STEP_SECONDS, VISIBILITY_TIMEOUT_SECONDS
from orchestrator.model.event import Event
from orchestrator.model.plan import Plan
from orchestrator.state.journal import Journal
from orchestrator.state.workers import Cluster, check_timeouts
from tasks.broker import forgetfulness, open_client
from tasks.send import sender
from tasks.worker import own_worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.ledger import Ledger
    from orchestrator.model.report import HostResult

Check = Callable[[], None]
OnEvent = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Engine:
    """A broker and workers behind it, ready to drive runs.

    Args:
        broker: the broker's URL.
        check: raises if the command's own worker has ended.
    """

    broker: str
    check: Check

    def ledger(self, *, again: bool) -> Ledger:
        """Read what earlier runs know of builds and smoke tests; `again` asks no quarantine."""
        return ledger_at(self.broker, again=again)

    def begin(self, plan: Plan, planning: Sequence[Event]) -> BegunRun:
        """Write a plan into the journal: from now on the run can be resumed.

        Args:
            plan: the run's.
            planning: the events of making it, to be kept with what follows.

        Raises:
            RunInterruptedError: the broker was lost.
        """
        journal = Journal(open_client(self.broker), plan.run)
        with _interruptions(plan.run):
            journal.create(plan)
            last = journal.emit(*planning)
        return BegunRun(plan, journal, self, last)

    def resume(self, run: str) -> BegunRun:
        """Go on with a run from where it is.

        Raises:
            PayloadError: there is no such run.
        """
        journal = Journal(open_client(self.broker), run)
        return BegunRun(journal.plan(), journal, self)


@dataclass(frozen=True, slots=True)
class BegunRun:
    """A run in the journal, ready to be driven.

    Args:
        plan: what it does.
        journal: where it stands.
        engine: what does it.
        after: the last of its events that was shown already, `0` for none.
    """

    plan: Plan
    journal: Journal
    engine: Engine
    after: str = "0"

    def drive(self, on_event: OnEvent) -> dict[str, HostResult]:
        """Drive it to its end; return how it ended for each host.

        Raises:
            RunInterruptedError: it can't be driven any more; `resume` goes on.
        """
        with _interruptions(self.plan.run), sender(self.engine.broker) as send:
            return drive(self.journal, send, on_event, self.engine.check, self.after)


@contextmanager
def open_engine(invocation: Invocation) -> Iterator[Engine]:
    """Provide a broker and workers for the time of the context.

    With a private broker that is a worker of the command's own, otherwise the cluster's.

    Raises:
        UsageError: the broker can't be used, or not with its workers.
    """
    with ExitStack() as stack:
        broker = stack.enter_context(open_broker(invocation))
        client = open_client(broker)
        if invocation.broker is None:
            check = stack.enter_context(own_worker(broker, invocation.workspace.log))
        else:
            workers = Cluster(client).workers()
            check_timeouts(VISIBILITY_TIMEOUT_SECONDS, LONGEST_STEP_SECONDS, workers)
            check = others_work
        warn_of(forgetfulness(client))
        yield Engine(broker, check)


@contextmanager
def _interruptions(run: str) -> Iterator[None]:
    """Add how to go on to every error that interrupts the run."""
    resume = f"go on with `orchestrate resume {run}`"
    try:
        yield
    except RunInterruptedError as error:
        error.hint = f"{error.hint}; {resume}" if error.hint else resume
        raise
    except KeyboardInterrupt as error:
        message = "interrupted; a host between switch and confirmation goes back by itself"
        raise RunInterruptedError(message, hint=resume) from error
    except (redis.RedisError, OperationalError) as error:
        message = f"the broker was lost in the middle of the run: {error}"
        raise RunInterruptedError(message, hint=resume) from error
