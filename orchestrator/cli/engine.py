"""The engine of a command: a broker, and a worker beside us where it is private."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import redis

from orchestrator.cli.kept_worker import kept_worker, worker_log
from orchestrator.deploy.cluster import Cluster, check_timeouts
from orchestrator.deploy.drive import drive
from orchestrator.deploy.journal import Journal
from orchestrator.deploy.take_in import take_in
from orchestrator.errors import RunInterruptedError
from orchestrator.model.cluster import LONGEST_STEP_SECONDS, VISIBILITY_TIMEOUT_SECONDS
from orchestrator.model.event import Event
from orchestrator.transport.become import typed_password
from orchestrator.workspace import kept_runs, state_home
from tasks.broker import check_broker, forgetfulness, open_client, private_server
from tasks.child import CONCURRENCY, worker_process

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import HostResult
    from tasks.child import EarlyWorker

Watch = Callable[[], dict[str, Any] | None]
Hear = Callable[[Event], None]


@contextmanager
def open_broker(invocation: Invocation) -> Iterator[str]:
    """Give the URL of the broker: the configured one, or a private one for us.

    Raises:
        UsageError: it can't be used.
    """
    with ExitStack() as stack:
        configured = invocation.broker
        url = configured or stack.enter_context(private_server(state_home() / "broker"))
        check_broker(open_client(url))
        take_in(open_client(url), kept_runs(configured))
        yield url


@contextmanager
def open_journal(invocation: Invocation) -> Iterator[redis.Redis]:
    """Give a client on the broker, to read what runs have left there."""
    with open_broker(invocation) as url:
        yield open_client(url)


@contextmanager
def workers(early: EarlyWorker | None, log: Path, broker: str) -> Iterator[Watch]:
    """Have workers for our run: our own beside a private broker, else the cluster's.

    Gives what looks after our own, as `kept_worker` does.
    """
    if early is None:
        yield lambda: None
        return
    typed = typed_password()
    another = partial(worker_process, CONCURRENCY, broker, log, password=typed)
    first = [partial(early.put_to_work, broker, typed)]

    def start() -> AbstractContextManager[subprocess.Popen[bytes]]:
        return first.pop()() if first else another()

    with kept_worker(start, log) as watch:
        yield watch


@dataclass(frozen=True, slots=True)
class Engine:
    """A broker and workers behind it, ready to drive runs.

    Args:
        broker: the broker's URL.
        watch: looks after our own worker; gives what to tell of one that died.
    """

    broker: str
    watch: Watch

    def run(self, plan: Plan, planning: Sequence[Event], on_event: Hear) -> dict[str, HostResult]:
        """Write the plan into the journal and drive it to its end.

        Args:
            plan: the run's.
            planning: what was told while it was made, to be kept with what follows.
            on_event: hears what follows.

        Raises:
            RunInterruptedError: it can't be driven any more; `resume` goes on.
        """
        journal = Journal(open_client(self.broker), plan.run)
        with _interruptions(plan.run):
            journal.create(plan)
            heard = journal.emit(*planning)
        return go_on(self.broker, journal, on_event, self.watch, heard)

    def plan(self, run: str) -> Plan:
        """Give the plan of a run.

        Raises:
            PayloadError: there is no such run.
        """
        return Journal(open_client(self.broker), run).plan()

    def resume(self, run: str, on_event: Hear) -> dict[str, HostResult]:
        """Drive a run to its end from where it is.

        Raises:
            PayloadError: there is no such run.
            RunInterruptedError: it can't be driven any more; `resume` goes on.
        """
        journal = Journal(open_client(self.broker), run)
        return go_on(self.broker, journal, on_event, self.watch)


@contextmanager
def open_engine(invocation: Invocation, early: EarlyWorker | None) -> Iterator[Engine]:
    """Have a broker and workers for the time of the context.

    Args:
        invocation: names the broker, unless it is a private one.
        early: our own worker, which waits for that; None where others do the work.

    Raises:
        UsageError: the broker can't be used, or not with its workers.
    """
    with open_broker(invocation) as broker:
        client = open_client(broker)
        check_timeouts(VISIBILITY_TIMEOUT_SECONDS, LONGEST_STEP_SECONDS, Cluster(client).workers())
        warn_of(forgetfulness(client))
        with workers(early, worker_log(invocation), broker) as watch:
            yield Engine(broker, watch)


def warn_of(risk: str) -> None:
    """Tell the user of something that is no error, if it is anything."""
    if risk:
        click.echo(f"orchestrate: warning: {risk}", err=True)


def go_on(
    broker: str, journal: Journal, on_event: Hear, watch: Watch, after: str = "0"
) -> dict[str, HostResult]:
    """Drive a run to its end, from wherever it is; events up to `after` were heard before.

    Raises:
        RunInterruptedError: it can't be driven any more; `resume` goes on.
    """
    from tasks.send import sender  # noqa: PLC0415 - imports Celery

    def check() -> bool:
        restarted = watch()
        if restarted is not None:
            event = Event(time.time(), journal.run, "", "", "worker_restarted", restarted)
            journal.emit(event)
        return restarted is not None

    with _interruptions(journal.run), sender(broker) as send:
        return drive(journal, send, on_event, check, after)


@contextmanager
def _interruptions(run: str) -> Iterator[None]:
    """Say of every end before the run's own how to go on."""
    from kombu.exceptions import OperationalError  # noqa: PLC0415 - see above

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
