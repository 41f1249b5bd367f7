"""A command's own worker dies, and is started again; or it can't be, and the command says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.cli.engine import go_on
from orchestrator.cli.kept_worker import RESTARTS, kept_worker
from orchestrator.errors import RunInterruptedError
from orchestrator.model.report import Outcome
from tasks.settings import WorkerSettings
from tests.engine.conftest import SETTINGS
from tests.plans import Wanted, make_plan

if TYPE_CHECKING:
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import HostResult
    from tests.engine.conftest import Engine


def test_a_worker_that_dies_is_started_again(engine: Engine) -> None:
    """A host whose switch kills every worker is put back, the others are deployed to."""
    plan = make_plan(Wanted("deadly"), Wanted("carbon"))
    ended = drive_with_own_worker(engine, plan, SETTINGS)
    assert ended["deadly"].outcome is Outcome.ROLLED_BACK
    assert "3 workers ended in the middle of it" in ended["deadly"].message
    assert ended["carbon"].outcome is Outcome.DEPLOYED
    told = [event for event in engine.events if event.event == "worker_restarted"]
    assert [event.data["message"] for event in told] == [
        f"the worker process was killed by SIGKILL and is started again ({n} of {RESTARTS} times)"
        for n in (1, 2, 3)
    ]


def test_steps_that_die_with_a_worker_are_not_taken_for_what_ended_it(engine: Engine) -> None:
    """Switches that were begun before the deadly one each time are given another chance alone."""
    plan = make_plan(Wanted("takes-0.5"), Wanted("takes-0.6"), Wanted("deadly-last"))
    ended = drive_with_own_worker(engine, plan, SETTINGS)
    assert {name: result.outcome for name, result in ended.items()} == {
        "takes-0.5": Outcome.DEPLOYED,
        "takes-0.6": Outcome.DEPLOYED,
        "deadly-last": Outcome.ROLLED_BACK,
    }


def test_a_worker_that_cannot_start_ends_the_run_with_what_it_said(engine: Engine) -> None:
    """After some starts the error has the end of the last one's log, and how to go on."""
    plan = make_plan(Wanted("carbon"))
    with pytest.raises(RunInterruptedError, match=f"as {RESTARTS} before it") as caught:
        drive_with_own_worker(engine, plan, WorkerSettings("tests.engine.absent:perform"))
    assert "No module named 'tests.engine.absent'" in "\n".join(caught.value.last_lines)
    assert str(engine.directory / "worker.log") in caught.value.hint
    assert f"orchestrate resume {plan.run}" in caught.value.hint
    told = [event for event in engine.events if event.event == "worker_restarted"]
    assert "No module named 'tests.engine.absent'" in "\n".join(told[0].data["last_lines"])


def test_a_worker_that_lives_is_left_alone(engine: Engine) -> None:
    """Nothing is told of a worker that does its work."""
    plan = make_plan(Wanted("carbon"))
    ended = drive_with_own_worker(engine, plan, SETTINGS)
    assert ended["carbon"].outcome is Outcome.DEPLOYED
    assert "worker_restarted" not in {event.event for event in engine.events}


def drive_with_own_worker(
    engine: Engine, plan: Plan, settings: WorkerSettings
) -> dict[str, HostResult]:
    """Drive a plan as a command does, with a worker of these settings of its own."""
    journal = engine.journal(plan)
    journal.create(plan)
    with kept_worker(lambda: engine.worker(settings), engine.directory / "worker.log") as watch:
        return go_on(engine.broker, journal, engine.events.append, watch)
