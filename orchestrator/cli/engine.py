"""The engine of a command: a broker, and a worker beside us where it is private."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from orchestrator.deploy.drive import drive
from orchestrator.deploy.journal import Journal
from orchestrator.workspace import state_home
from tasks.broker import check_broker, open_client, private_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.event import Event
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import HostResult

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
def workers(invocation: Invocation, broker: str) -> Iterator[None]:
    """Have workers for our run: our own beside a private broker, else the cluster's."""
    if invocation.broker is not None:
        yield
        return
    # Celery takes half a second to import, which only a run with work pays.
    from tasks.worker import worker_process  # noqa: PLC0415

    log = invocation.workspace.directory / "worker.log"
    with worker_process(CONCURRENCY, broker, log):
        yield


def run_plan(broker: str, plan: Plan, on_event: Callable[[Event], None]) -> dict[str, HostResult]:
    """Write the plan into the journal and drive it to its end."""
    journal = Journal(open_client(broker), plan.run)
    journal.create(plan)
    return go_on(broker, journal, on_event)


def go_on(
    broker: str, journal: Journal, on_event: Callable[[Event], None]
) -> dict[str, HostResult]:
    """Drive a run to its end, from wherever it is."""
    from tasks.send import sender  # noqa: PLC0415 - imports Celery

    with sender(broker) as send:
        return drive(journal, send, on_event)
