"""The traps of Celery on Redis, each closed: real workers, a real server, real kills."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.model.journal import Step, StepKey, StepState
from orchestrator.model.report import Outcome
from orchestrator.state.workers import Cluster
from tasks.broker import open_client
from tests.engine.conftest import SETTINGS, Engine, kill, wait_until
from tests.engine.test_broker import keeper_of, kill_server, server_pid
from tests.plans import Wanted, make_plan

if TYPE_CHECKING:
    from orchestrator.model.journal import StepRecord
    from orchestrator.model.plan import Plan

HASTY = replace(SETTINGS, visibility_timeout=1, longest_step=0, restore_interval=0.5)
"""Messages come again a second after they were taken, in the middle of a step."""


def test_redelivery_past_the_visibility_timeout(engine: Engine) -> None:
    """A step longer than the timeout: its message comes again, and is dropped."""
    plan = make_plan(Wanted("takes-4"))
    with engine.worker(HASTY):
        ended = engine.run(plan)
    assert ended["takes-4"].outcome is Outcome.DEPLOYED
    assert set(Counter(engine.ran(plan)).values()) == {1}
    assert dropped(engine) == ["switch:takes-4"]


def test_prefetch_holds_nothing_back(engine: Engine) -> None:
    """What a busy worker can't do yet stays in the queue, for an idle one to do at once."""
    plan = make_plan(Wanted("takes-6"), Wanted("carbon"))
    long = StepKey(Step.SWITCH, "takes-6")
    with engine.worker(concurrency=1), engine.driving(plan) as ended:
        engine.wait_for(plan, str(long))
        wait_until(lambda: open_client(engine.broker).llen("deploy") > 0)
        with engine.worker(concurrency=1):
            wait_until(lambda: "carbon" in told(engine))
            assert record(engine, plan, long).state is StepState.STARTED
            wait_until(lambda: bool(ended))
    assert set(Counter(engine.ran(plan)).values()) == {1}


def test_a_worker_killed_in_the_middle(engine: Engine) -> None:
    """SIGKILL under a step: its lease ends, and another worker does it, once."""
    plan = make_plan(Wanted("slow"))
    with engine.worker() as first, engine.driving(plan) as ended:
        engine.wait_for(plan, "switch:slow")
        kill(first)
        with engine.worker():
            wait_until(lambda: bool(ended))
    assert ended["slow"].outcome is Outcome.DEPLOYED
    assert Counter(engine.ran(plan))["switch:slow"] == 2
    (lost,) = [event for event in engine.events if event.event == "worker_lost"]
    assert (lost.host, lost.stage) == ("slow", "switch")


def test_a_broker_restarted_at_once_in_the_middle(engine: Engine) -> None:
    """A server that dies under a step and is back at once costs the run nothing."""
    plan = make_plan(Wanted("slow"), Wanted("carbon"))
    with engine.worker() as worker:
        with engine.driving(plan) as ended:
            engine.wait_for(plan, "switch:slow")
            # What was written in the last second may be forgotten.
            time.sleep(1.5)
            kill_server(server_pid(engine.broker))
            wait_until(lambda: bool(ended))
        assert worker.poll() is None
    assert {result.outcome for result in ended.values()} == {Outcome.DEPLOYED}
    assert engine.ran(plan).count("switch:slow") == 1


def test_a_broker_restarted_after_a_while_in_the_middle(engine: Engine) -> None:
    """Driver and worker wait for a server that is away; no step is done twice for it."""
    plan = make_plan(Wanted("takes-6"), Wanted("carbon"))
    with engine.worker() as worker:
        with engine.driving(plan) as ended:
            engine.wait_for(plan, "switch:takes-6")
            time.sleep(1.5)
            server = server_pid(engine.broker)
            keeper = keeper_of(server)
            os.kill(keeper, signal.SIGSTOP)
            os.kill(server, signal.SIGTERM)
            time.sleep(2.5)
            os.kill(keeper, signal.SIGCONT)
            wait_until(lambda: bool(ended))
        assert worker.poll() is None
    assert {result.outcome for result in ended.values()} == {Outcome.DEPLOYED}
    assert set(Counter(engine.ran(plan)).values()) == {1}


def test_two_controllers_of_one_run(engine: Engine) -> None:
    """A run that is resumed while it is still driven is driven by both, each step once."""
    plan = make_plan(*(Wanted(f"host-{number}") for number in range(8)))
    with engine.worker(), engine.driving(plan):
        ended = engine.drive(plan)
    assert {result.outcome for result in ended.values()} == {Outcome.DEPLOYED}
    assert set(Counter(engine.ran(plan)).values()) == {1}


def test_two_controllers_on_one_broker(engine: Engine) -> None:
    """Two runs share the workers; each controller sees its own run end, each step once."""
    plans = [
        make_plan(*(Wanted(f"host-{number}") for number in range(4)), run=run)
        for run in ("run-1", "run-2")
    ]
    other = Engine(engine.directory, engine.broker)
    with engine.worker(), engine.worker(), engine.driving(plans[0]) as first:
        second = other.run(plans[1])
    assert {result.outcome for result in second.values()} == {Outcome.DEPLOYED}
    for result in first.values():
        # Where the later run was first, the earlier one leaves the host to it.
        if result.outcome is not Outcome.DEPLOYED:
            assert (result.outcome, "superseded by run run-2" in result.message) == (
                Outcome.SKIPPED,
                True,
            )
    for plan, heard in zip(plans, (engine.events, other.events), strict=True):
        assert set(Counter(engine.ran(plan)).values()) <= {1}
        assert {event.run for event in heard} == {plan.run}


def test_workers_whose_timeouts_differ(engine: Engine) -> None:
    """The shorter timeout would hold for both: the second worker ends and says why."""
    log = engine.directory / "worker.log"
    cluster = Cluster(open_client(engine.broker))
    with engine.worker(queues=("deploy",)) as good:
        wait_until(lambda: bool(cluster.workers()))
        with engine.worker(HASTY) as hasty:
            assert hasty.wait(20) != 0
        assert "the visibility timeout is 1 s here and 86400 s in worker" in log.read_text()
        assert good.poll() is None
        assert [worker.queues for worker in cluster.workers()] == [("deploy",)]


def test_a_timeout_shorter_than_a_step(engine: Engine) -> None:
    """A worker whose messages would come again in mid-step doesn't start."""
    with engine.worker(replace(SETTINGS, visibility_timeout=3600)) as process:
        assert process.wait(20) != 0
    assert "3600 s is too short" in (engine.directory / "worker.log").read_text()


def dropped(engine: Engine) -> list[str]:
    """Return the steps whose messages the worker took and did nothing with."""
    log = (engine.directory / "worker.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in log]
    return [entry["step"] for entry in entries if entry["event"] == "message dropped"]


def told(engine: Engine) -> list[str]:
    """Return the hosts that have ended."""
    return [event.host for event in engine.events if event.event == "host_finished"]


def record(engine: Engine, plan: Plan, key: StepKey) -> StepRecord:
    """Return where a step stands."""
    return engine.journal(plan).records()[key]
