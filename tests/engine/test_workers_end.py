"""Workers die in the middle of steps, and others come: what did it is given up, and that alone."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from orchestrator.cli.engine import BegunRun
from orchestrator.cli.engine import Engine as CommandEngine
from orchestrator.errors import RunInterruptedError
from orchestrator.model.report import Outcome
from tasks.worker import own_worker
from tests.engine.conftest import SETTINGS, kill, wait_until
from tests.plans import Wanted, make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.conftest import Engine


def test_a_step_that_kills_its_workers_is_given_up(engine: Engine) -> None:
    """A host whose switch kills every worker is put back, the others are deployed to."""
    plan = make_plan(Wanted("deadly"), Wanted("carbon"))
    with kept_worker(engine):
        ended = engine.run(plan)
    assert ended["deadly"].outcome is Outcome.ROLLED_BACK
    assert "3 workers ended in the middle of it" in ended["deadly"].message
    assert ended["carbon"].outcome is Outcome.DEPLOYED


def test_steps_that_die_with_a_worker_are_not_taken_for_what_ended_it(engine: Engine) -> None:
    """Switches that were begun before the deadly one each time are given another chance alone."""
    plan = make_plan(Wanted("takes-0.5"), Wanted("takes-0.6"), Wanted("deadly-last"))
    with kept_worker(engine):
        ended = engine.run(plan)
    assert {name: result.outcome for name, result in ended.items()} == {
        "takes-0.5": Outcome.DEPLOYED,
        "takes-0.6": Outcome.DEPLOYED,
        "deadly-last": Outcome.ROLLED_BACK,
    }


def test_what_a_dead_worker_had_not_begun_is_sent_again_soon(engine: Engine) -> None:
    """Of a worker with one thread that is killed, the step in hand and the one behind it."""
    plan = make_plan(Wanted("slow"), Wanted("carbon"))
    with engine.worker(concurrency=1) as first, engine.driving(plan) as ended:
        engine.wait_for(plan, "switch:slow")
        kill(first)
        with engine.worker(concurrency=1):
            wait_until(lambda: bool(ended), 30)
    assert {result.outcome for result in ended.values()} == {Outcome.DEPLOYED}


def test_a_command_works_by_itself(engine: Engine) -> None:
    """With a worker on a thread of its own a run comes to its end."""
    plan = make_plan(Wanted("carbon"), Wanted("slow"))
    journal = engine.journal(plan)
    journal.create(plan)
    with own_worker(engine.broker, engine.directory / "log.jsonl", SETTINGS) as check:
        ended = BegunRun(plan, journal, CommandEngine(engine.broker, check)).drive(
            engine.events.append
        )
    assert {result.outcome for result in ended.values()} == {Outcome.DEPLOYED}


def test_an_own_worker_that_ends_ends_the_command(engine: Engine) -> None:
    """Its end is no end of the run: the error says how to go on."""
    plan = make_plan(Wanted("carbon"))
    journal = engine.journal(plan)
    journal.create(plan)
    with own_worker(engine.broker, engine.directory / "log.jsonl", SETTINGS) as check:
        pass
    with pytest.raises(RunInterruptedError, match="has ended") as caught:
        BegunRun(plan, journal, CommandEngine(engine.broker, check)).drive(engine.events.append)
    assert f"orchestrate resume {plan.run}" in caught.value.hint
    assert "log.jsonl" in caught.value.hint


@contextmanager
def kept_worker(engine: Engine) -> Iterator[None]:
    """Have a worker that is started again when it dies, as a service manager does it."""
    ended = threading.Event()

    def keep() -> None:
        while not ended.is_set():
            with engine.worker() as process:
                while process.poll() is None and not ended.wait(0.05):
                    pass

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
