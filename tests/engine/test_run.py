"""Runs through a real broker and real workers, with what can kill them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from orchestrator.errors import PayloadError
from orchestrator.model.journal import Control, Step, StepKey, StepRecord, StepState
from orchestrator.model.policy import Policy
from orchestrator.model.report import Outcome
from tasks.app import STEP_TASK, make_app
from tasks.broker import open_client
from tests.engine.conftest import Engine, wait_until
from tests.plans import Wanted, derivation, make_plan


def test_two_hosts_go_the_whole_way(engine: Engine) -> None:
    """A run ends with `run_finished` as its last event, and each step ran once."""
    plan = make_plan(Wanted("carbon"), Wanted("boron"))
    with engine.worker():
        ended = engine.run(plan)
    assert {result.outcome for result in ended.values()} == {Outcome.DEPLOYED}
    assert engine.events[-1].event == "run_finished"
    assert Counter(event.event for event in engine.events)["host_finished"] == 2
    assert set(Counter(engine.ran(plan)).values()) == {1}
    assert engine.journal(plan).is_finished()


def test_failures_and_defects_are_put_back(engine: Engine) -> None:
    """A failed switch and a defect in one both lead back, and say what happened."""
    plan = make_plan(Wanted("refuses"), Wanted("defect"), Wanted("carbon"))
    with engine.worker():
        ended = engine.run(plan)
    assert ended["refuses"].outcome is Outcome.ROLLED_BACK
    assert ended["refuses"].message == "it doesn't want to"
    assert ended["defect"].message.startswith("a defect: ZeroDivisionError")
    assert ended["carbon"].outcome is Outcome.DEPLOYED


def test_a_spent_budget_leaves_the_rest_alone(engine: Engine) -> None:
    """Who began is finished, the rest is never switched, and one event says why."""
    plan = make_plan(Wanted("carbon"), Wanted("refuses", batch=1), Wanted("boron", batch=2))
    plan = replace(plan, policy=Policy(max_failures=0))
    with engine.worker():
        ended = engine.run(plan)
    assert ended["refuses"].outcome is Outcome.ROLLED_BACK
    assert ended["carbon"].outcome is Outcome.DEPLOYED
    assert ended["boron"].outcome is Outcome.SKIPPED
    assert "orchestrate_max_failures allows (0)" in ended["boron"].message
    assert not {"switch:boron", "smoke:boron"} & set(engine.ran(plan))
    assert Counter(event.event for event in engine.events)["budget_spent"] == 1


def test_a_cancelled_run_finishes_what_has_begun(engine: Engine) -> None:
    """A host in the middle of its switch goes on to a decision; the next batch is left alone."""
    plan = make_plan(Wanted("slow"), Wanted("boron", batch=1))
    with engine.worker(), engine.driving(plan) as ended:
        engine.wait_for(plan, "switch:slow")
        engine.journal(plan).set_control(Control.CANCEL)
    assert ended["slow"].outcome is Outcome.DEPLOYED
    assert ended["boron"].outcome is Outcome.SKIPPED
    assert ended["boron"].message == "the run was cancelled"
    assert "switch:boron" not in engine.ran(plan)


def test_a_paused_run_waits_and_goes_on(engine: Engine) -> None:
    """Paused in its switch a host still ends, the next batch begins after `continue`."""
    plan = make_plan(Wanted("slow"), Wanted("boron", batch=1))
    journal = engine.journal(plan)
    confirmed = StepKey(Step.CONFIRM, "slow")
    with engine.worker(), engine.driving(plan) as ended:
        engine.wait_for(plan, "switch:slow")
        journal.set_control(Control.PAUSE)
        wait_until(
            lambda: confirmed in (found := journal.records()) and found[confirmed].state.is_final
        )
        time.sleep(1.5)
        assert not ended
        assert "switch:boron" not in engine.ran(plan)
        journal.set_control(None)
    assert {result.outcome for result in ended.values()} == {Outcome.DEPLOYED}


def test_what_means_nothing_to_a_run_is_an_error(engine: Engine) -> None:
    """A foreign control ends the driver with one clear error."""
    plan = make_plan(Wanted("carbon"))
    engine.journal(plan).create(plan)
    open_client(engine.broker).set(f"orchestrate:run:{plan.run}:control", "dance")
    with pytest.raises(PayloadError, match="'dance'"):
        engine.drive(plan)


def test_a_resumed_run_has_its_policy(engine: Engine) -> None:
    """A second batch waits out its pause by the server's clock, also under another driver."""
    plan = make_plan(Wanted("carbon"), Wanted("boron", batch=1))
    plan = replace(plan, policy=Policy(batch_pause=1.5))
    journal = engine.journal(plan)

    def die_in_the_pause() -> None:
        if StepKey(Step.CONFIRM, "carbon") in journal.records():
            raise KeyboardInterrupt

    journal.create(plan)
    with engine.worker():
        with pytest.raises(KeyboardInterrupt):
            engine.drive(plan, die_in_the_pause)
        engine.drive(plan)
    records = journal.records()
    first = records[StepKey(Step.CONFIRM, "carbon")].ended_at
    assert records[StepKey(Step.SWITCH, "boron")].ended_at >= first + 1.5
    assert "batch_pause" in {event.event for event in engine.events}


def test_a_long_step_keeps_its_lease(engine: Engine) -> None:
    """A step that takes longer than its lease isn't taken for lost."""
    plan = make_plan(Wanted("slow"))
    with engine.worker():
        ended = engine.run(plan)
    assert ended["slow"].outcome is Outcome.DEPLOYED
    assert Counter(engine.ran(plan))["switch:slow"] == 1


def test_the_same_message_twice_runs_once(engine: Engine) -> None:
    """Two deliveries of one step to two threads at once run it once."""
    plan = make_plan(Wanted("slow"))
    journal = engine.journal(plan)
    journal.create(plan)
    key = StepKey(Step.SWITCH, "slow")
    token = journal.send(key)
    app = make_app(engine.broker)
    for _ in range(4):
        app.send_task(STEP_TASK, args=(plan.run, str(key), token), queue="deploy")
    app.close()
    with engine.worker():
        wait_until(lambda: journal.records()[key].state is StepState.DONE)
    assert engine.ran(plan) == ["switch:slow"]


def test_a_driver_that_comes_back_goes_on(engine: Engine) -> None:
    """A driver that dies in the middle is followed by another, and nothing runs twice."""
    plan = make_plan(Wanted("slow"), Wanted("carbon"))
    engine.journal(plan).create(plan)

    def die() -> None:
        if "switch:slow" in engine.ran(plan):
            raise KeyboardInterrupt

    with engine.worker():
        with pytest.raises(KeyboardInterrupt):
            engine.drive(plan, die)
        ended = engine.drive(plan)
    assert {result.outcome for result in ended.values()} == {Outcome.DEPLOYED}
    assert set(Counter(engine.ran(plan)).values()) == {1}


def test_a_damaged_plan_fails_the_step(engine: Engine) -> None:
    """A worker that can't read the plan fails its step with the reason; a driver refuses."""
    plan = make_plan(Wanted("carbon"))
    journal = engine.journal(plan)
    key = StepKey(Step.SWITCH, "carbon")
    token = journal.send(key)
    open_client(engine.broker).set(f"orchestrate:run:{plan.run}:plan", b'{"run": 3}')
    app = make_app(engine.broker)
    app.send_task(STEP_TASK, args=(plan.run, str(key), token), queue="deploy")
    app.close()
    with engine.worker():
        wait_until(lambda: journal.records()[key].state is StepState.FAILED)
    error = journal.records()[key].error
    assert error is not None
    assert "the plan of run run-1 can't be read back" in error.message
    with pytest.raises(PayloadError, match="can't be read back"):
        engine.drive(plan)


def test_a_step_of_no_host_fails(engine: Engine) -> None:
    """A step whose host or derivation the plan hasn't fails with a clear error."""
    plan = make_plan(Wanted("carbon"))
    journal = engine.journal(plan)
    journal.create(plan)
    keys = (StepKey(Step.SWITCH, "neon"), StepKey(Step.BUILD, derivation("neon")))
    app = make_app(engine.broker)
    for key in keys:
        args = (plan.run, str(key), journal.send(key))
        app.send_task(STEP_TASK, args=args, queue="deploy")
    app.close()
    with engine.worker():
        wait_until(lambda: all(journal.records()[key].state is StepState.FAILED for key in keys))
    errors = [str(journal.records()[key].error) for key in keys]
    assert all("the plan" in error and "neon" in error for error in errors)


@pytest.mark.parametrize("damage", [b"no json", b'{"state": "asleep"}', b"\xff"])
def test_a_damaged_record_is_one_clear_error(engine: Engine, damage: bytes) -> None:
    """A driver that meets a damaged record ends, and names the run and the step."""
    plan = make_plan(Wanted("carbon"))
    engine.journal(plan).create(plan)
    open_client(engine.broker).hset(f"orchestrate:run:{plan.run}:steps", "switch:carbon", damage)
    with pytest.raises(PayloadError, match="step switch:carbon of run run-1 can't be read back"):
        engine.drive(plan)


def test_garbage_in_the_queue_stops_nothing(engine: Engine) -> None:
    """Messages that are no steps are dropped, and the run behind them goes on."""
    plan = make_plan(Wanted("carbon"))
    garbage: tuple[tuple[object, ...], ...] = (
        (),
        ("run", "nothing", 1),
        (3, {}, "x"),
        ("run", "switch:carbon", 9, 9),
    )
    app = make_app(engine.broker)
    for args in garbage:
        app.send_task(STEP_TASK, args=args, queue="deploy")
    app.send_task("unknown", queue="deploy")
    app.close()
    with engine.worker() as process:
        ended = engine.run(plan)
        assert process.poll() is None
    assert ended["carbon"].outcome is Outcome.DEPLOYED


def test_a_message_that_outlived_its_driver_is_dropped(engine: Engine) -> None:
    """A step sent long ago is not begun by the worker that serves the queue today."""
    plan = make_plan(Wanted("carbon"))
    journal = engine.journal(plan)
    journal.create(plan)
    key = StepKey(Step.SWITCH, "carbon")
    old = StepRecord(StepState.SENT, 1, sent_at=time.time() - 3600)
    open_client(engine.broker).hset(
        f"orchestrate:run:{plan.run}:steps", str(key), msgspec.json.encode(old)
    )
    assert not journal.claim(key, 1)
    assert journal.lost(journal.records()) == (key,)
