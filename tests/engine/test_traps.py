"""The traps of Celery on Redis, each closed: real workers, a real server, real kills."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.deploy.cluster import Cluster
from orchestrator.model.report import Outcome
from tasks.broker import open_client
from tests.engine.conftest import SETTINGS, wait_until
from tests.plans import Wanted, make_plan

if TYPE_CHECKING:
    from tests.engine.conftest import Engine

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
    """Give the steps whose messages the worker took and did nothing with."""
    log = (engine.directory / "worker.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in log]
    return [entry["step"] for entry in entries if entry["event"] == "message dropped"]
