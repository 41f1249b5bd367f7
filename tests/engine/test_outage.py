"""What a run makes of workers that die, of hosts left alone, of messages that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.model.report import Outcome
from tasks.app import STEP_TASK, make_app
from tests.engine.conftest import wait_until
from tests.plans import Wanted, make_plan

if TYPE_CHECKING:
    from tests.engine.conftest import Engine


def test_a_step_that_ends_its_workers_fails(engine: Engine) -> None:
    """A step that kills every worker is given up, said so, and put back."""
    plan = make_plan(Wanted("deadly"))
    with engine.driving(plan) as ended:
        for _ in range(3):
            with engine.worker() as process:
                process.wait(30)
        with engine.worker():
            wait_until(lambda: bool(ended))
    assert ended["deadly"].outcome is Outcome.ROLLED_BACK
    assert "3 workers ended in the middle of it" in ended["deadly"].message
    assert engine.ran(plan).count("switch:deadly") == 3
    kinds = [event.event for event in engine.events if event.stage == "switch"]
    assert kinds.count("worker_lost") == 2
    assert kinds.count("stage_failed") == 1


def test_a_host_that_is_left_alone_is_told_too(engine: Engine) -> None:
    """Every host of a run ends with one host_finished, the skipped ones included."""
    plan = make_plan(Wanted("refuses"), Wanted("carbon", batch=1))
    with engine.worker():
        ended = engine.run(plan)
    assert ended["carbon"].outcome is Outcome.SKIPPED
    told = [event for event in engine.events if event.event == "host_finished"]
    assert sorted(event.host for event in told) == ["carbon", "refuses"]
    assert engine.events[-1].event == "run_finished"


def test_a_message_that_is_no_step_is_told_to_its_run(engine: Engine) -> None:
    """A payload that its worker drops is one clear event of the run that it names."""
    plan = make_plan(Wanted("carbon"))
    app = make_app(engine.broker)
    app.send_task(STEP_TASK, args=(plan.run, "explode:carbon", 1), queue="deploy")
    app.send_task(STEP_TASK, args=(plan.run, "switch:carbon"), queue="deploy")
    app.close()
    with engine.worker():
        ended = engine.run(plan)
    assert ended["carbon"].outcome is Outcome.DEPLOYED
    refused = [event for event in engine.events if event.event == "message_refused"]
    assert [event.line()["message"] for event in refused] == [
        "expected a step of a run, found 'explode:carbon'",
        f"expected run, step and token, found ({plan.run!r}, 'switch:carbon')",
    ]
