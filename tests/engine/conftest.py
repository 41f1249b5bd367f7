"""A private server and worker processes for each test that asks for them."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.deploy.drive.drive import drive, others_work
from orchestrator.model.queue import QUEUES
from orchestrator.state.journal import Journal
from tasks.broker import open_client, private_server
from tasks.send import sender
from tasks.settings import WorkerSettings
from tests.engine.performers import ran_key
from tests.engine.worker_process import worker_process

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orchestrator.model.event import Event
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import HostResult

SETTINGS = WorkerSettings("tests.engine.performers:perform", lease_seconds=1.0)


class Engine:
    """A broker with its files, and the events of what ran on it."""

    def __init__(self, directory: Path, broker: str) -> None:
        self.directory = directory
        self.broker = broker
        self.events: list[Event] = []

    def journal(self, plan: Plan) -> Journal:
        """Return the journal of a plan's run."""
        return Journal(open_client(self.broker), plan.run, SETTINGS.lease_seconds)

    def worker(
        self,
        settings: WorkerSettings = SETTINGS,
        queues: Sequence[str] = QUEUES,
        concurrency: int = 4,
    ) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Have a worker process for the time of the context."""
        log = self.directory / "worker.log"
        return worker_process(concurrency, self.broker, log, settings, queues)

    def drive(
        self, plan: Plan, check: Callable[[], None] = others_work, after: str = "0"
    ) -> dict[str, HostResult]:
        """Drive a run whose plan is written."""
        with sender(self.broker) as send:
            return drive(self.journal(plan), send, self.events.append, check, after)

    def run(self, plan: Plan) -> dict[str, HostResult]:
        """Write a plan and drive it."""
        self.journal(plan).create(plan)
        return self.drive(plan)

    def ran(self, plan: Plan) -> list[str]:
        """Return the steps that a worker ran, in order, each time that it ran."""
        found: Any = open_client(self.broker).lrange(ran_key(plan.run), 0, -1)
        return [step.decode() for step in found]

    def wait_for(self, plan: Plan, step: str) -> None:
        """Wait until a worker runs this step."""
        wait_until(lambda: step in self.ran(plan))

    @contextmanager
    def driving(self, plan: Plan) -> Iterator[dict[str, HostResult]]:
        """Drive a run on a thread for the time of the context; it must end there."""
        ended: dict[str, HostResult] = {}
        self.journal(plan).create(plan)
        thread = threading.Thread(target=lambda: ended.update(self.drive(plan)), daemon=True)
        thread.start()
        yield ended
        thread.join(30)
        assert not thread.is_alive()


def wait_until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process as the kernel does when memory is short."""
    process.kill()
    process.wait()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Yield a private server without a worker."""
    with private_server(tmp_path / "broker") as broker:
        yield Engine(tmp_path, broker)
