"""The engine of a command: a broker, and a worker of our own where it is private."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis
from kombu.exceptions import OperationalError

from orchestrator.cli.broker import open_broker, warn_of
from orchestrator.deploy.drive.drive import drive, others_work
from orchestrator.errors import RunInterruptedError
from orchestrator.model.cluster import LONGEST_STEP_SECONDS, VISIBILITY_TIMEOUT_SECONDS
from orchestrator.model.event import Event
from orchestrator.state.journal import Journal
from orchestrator.state.workers import Cluster, check_timeouts
from tasks.broker import forgetfulness, open_client
from tasks.send import sender
from tasks.worker import own_worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import HostResult

Check = Callable[[], None]
OnEvent = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Engine:
    """A broker and workers behind it, ready to drive runs.

    Args:
        broker: the broker's URL.
        check: raises where our own worker has ended.
    """

    broker: str
    check: Check

    def run(
        self, plan: Plan, planning: Sequence[Event], on_event: OnEvent
    ) -> dict[str, HostResult]:
        """Write the plan into the journal and drive it to its end.

        Args:
            plan: the run's.
            planning: the events of making it, to be kept with what follows.
            on_event: is called with each event that follows.

        Raises:
            RunInterruptedError: it can't be driven any more; `resume` goes on.
        """
        journal = Journal(open_client(self.broker), plan.run)
        with _interruptions(plan.run):
            journal.create(plan)
            last = journal.emit(*planning)
        return go_on(self.broker, journal, on_event, self.check, last)

    def plan(self, run: str) -> Plan:
        """Give the plan of a run.

        Raises:
            PayloadError: there is no such run.
        """
        return Journal(open_client(self.broker), run).plan()

    def resume(self, run: str, on_event: OnEvent) -> dict[str, HostResult]:
        """Drive a run to its end from where it is.

        Raises:
            PayloadError: there is no such run.
            RunInterruptedError: it can't be driven any more; `resume` goes on.
        """
        journal = Journal(open_client(self.broker), run)
        return go_on(self.broker, journal, on_event, self.check)


@contextmanager
def open_engine(invocation: Invocation) -> Iterator[Engine]:
    """Have a broker and workers for the time of the context.

    Beside a private broker that is a worker of our own, else those of the cluster.

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


def go_on(
    broker: str, journal: Journal, on_event: OnEvent, check: Check, after: str = "0"
) -> dict[str, HostResult]:
    """Drive a run to its end, from wherever it is; events up to `after` were shown before.

    Raises:
        RunInterruptedError: it can't be driven any more; `resume` goes on.
    """
    with _interruptions(journal.run), sender(broker) as send:
        return drive(journal, send, on_event, check, after)


@contextmanager
def _interruptions(run: str) -> Iterator[None]:
    """Say of every end before the run's own how to go on."""
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
