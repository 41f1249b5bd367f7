"""The engine of a command: a broker, and a worker beside us where it is private."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import redis

from orchestrator.deploy.cluster import (
    LONGEST_STEP_SECONDS,
    VISIBILITY_TIMEOUT_SECONDS,
    Cluster,
    check_timeouts,
)
from orchestrator.deploy.drive import drive
from orchestrator.deploy.journal import Journal
from orchestrator.errors import RunInterruptedError
from orchestrator.model.event import Event
from orchestrator.workspace import state_home
from tasks.broker import check_broker, forgetfulness, open_client, private_server

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import HostResult

Check = Callable[[], None]
Hear = Callable[[Event], None]

CONCURRENCY = 16
"""Steps that the private worker does at a time: they wait for hosts, not for us."""


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
        yield url


@contextmanager
def open_journal(invocation: Invocation) -> Iterator[redis.Redis]:
    """Give a client on the broker, to read what runs have left there."""
    with open_broker(invocation) as url:
        yield open_client(url)


@contextmanager
def workers(invocation: Invocation, broker: str) -> Iterator[Check]:
    """Have workers for our run: our own beside a private broker, else the cluster's.

    Gives a check that raises where our own has died.
    """
    if invocation.broker is not None:
        yield lambda: None
        return
    # Celery takes half a second to import, which only a run with work pays.
    from tasks.worker import worker_process  # noqa: PLC0415

    log = invocation.workspace.directory / "worker.log"
    with worker_process(CONCURRENCY, broker, log) as process:
        yield lambda: check_worker(process, log)


@dataclass(frozen=True, slots=True)
class Engine:
    """A broker and workers behind it, ready to drive runs.

    Args:
        broker: the broker's URL.
        check: raises where our own worker has died.
    """

    broker: str
    check: Check

    def run(self, plan: Plan, on_event: Hear) -> dict[str, HostResult]:
        """Write the plan into the journal and drive it to its end.

        Raises:
            RunInterruptedError: it can't be driven any more; `resume` goes on.
        """
        journal = Journal(open_client(self.broker), plan.run)
        with _interruptions(plan.run):
            journal.create(plan)
        return go_on(self.broker, journal, on_event, self.check)

    def resume(self, run: str, on_event: Hear) -> dict[str, HostResult]:
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

    Raises:
        UsageError: the broker can't be used, or not with its workers.
    """
    with open_broker(invocation) as broker:
        client = open_client(broker)
        check_timeouts(VISIBILITY_TIMEOUT_SECONDS, LONGEST_STEP_SECONDS, Cluster(client).workers())
        warn_of(forgetfulness(client))
        with workers(invocation, broker) as check:
            yield Engine(broker, check)


def warn_of(risk: str) -> None:
    """Tell the user of something that is no error, if it is anything."""
    if risk:
        click.echo(f"orchestrate: warning: {risk}", err=True)


def check_worker(process: subprocess.Popen[bytes], log: Path) -> None:
    """Check that our worker lives.

    Raises:
        RunInterruptedError: it ended; what it said last is in the error.
    """
    if process.poll() is not None:
        raise RunInterruptedError(
            message=f"the worker process ended with exit status {process.returncode}",
            last_lines=tuple(log.read_text(errors="replace").splitlines()[-10:]),
            hint=f"its log is {log}",
        )


def go_on(broker: str, journal: Journal, on_event: Hear, check: Check) -> dict[str, HostResult]:
    """Drive a run to its end, from wherever it is.

    Raises:
        RunInterruptedError: it can't be driven any more; `resume` goes on.
    """
    from tasks.send import sender  # noqa: PLC0415 - imports Celery

    with _interruptions(journal.run), sender(broker) as send:
        return drive(journal, send, on_event, check)


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
