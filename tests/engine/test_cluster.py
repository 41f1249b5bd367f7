"""Workers show themselves on a real broker, and queues that no worker serves are known."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.cli.render.progress import plain_lines
from orchestrator.model.journal import Control
from orchestrator.model.queue import QUEUES
from orchestrator.model.report import Outcome
from orchestrator.state.workers import Cluster
from tasks.app import STEP_TASK, make_app
from tasks.broker import open_client
from tests.engine.conftest import Engine, kill, wait_until
from tests.plans import Wanted, make_plan

if TYPE_CHECKING:
    from pathlib import Path

ORCHESTRATE = (sys.executable, "-m", "orchestrator")


def test_a_worker_shows_itself_and_what_it_does(engine: Engine) -> None:
    """From its start to its end a worker is in the registry, with the step it is busy with."""
    plan = make_plan(Wanted("slow"))
    cluster = Cluster(open_client(engine.broker))
    with engine.worker() as process:
        with engine.driving(plan):
            engine.wait_for(plan, "switch:slow")
            wait_until(lambda: any(worker.busy for worker in cluster.workers()))
            (worker,) = cluster.workers()
        wait_until(lambda: not cluster.workers()[0].busy)
    assert worker.name == f"{socket.gethostname()}:{process.pid}"
    assert worker.queues == QUEUES
    assert worker.concurrency == 4
    (work,) = worker.busy
    assert (work.run, work.step, work.subject) == (plan.run, "switch", "slow")
    assert worker.started_at <= work.since <= cluster.now()
    assert cluster.workers() == ()


def test_a_killed_worker_is_gone_when_its_entry_expires(engine: Engine) -> None:
    """A worker that could not say goodbye is there until its last sign is old."""
    cluster = Cluster(open_client(engine.broker), sign_seconds=0.2)
    with engine.worker() as process:
        wait_until(lambda: bool(cluster.workers()))
        kill(process)
    (worker,) = cluster.workers()
    cluster.show(worker)
    wait_until(lambda: not cluster.workers())


def test_a_queue_is_missed_until_a_worker_serves_it(engine: Engine) -> None:
    """Queues are missed that a run needs or messages wait in, while no worker serves them."""
    cluster = Cluster(open_client(engine.broker))
    plan = make_plan(Wanted("carbon"))
    engine.journal(plan).create(plan)
    app = make_app(engine.broker)
    app.send_task(STEP_TASK, args=("run", "build:x", 1), queue="build.x86_64-linux.rocm")
    app.close()
    missed = {state.queue: state for state in cluster.queues(())}
    assert set(missed) == {"deploy", "build.x86_64-linux", "build.x86_64-linux.rocm"}
    assert missed["deploy"].needed_by == (plan.run,)
    assert missed["build.x86_64-linux.rocm"].waiting == 1
    assert all(state.is_missed for state in missed.values())
    with engine.worker():
        wait_until(lambda: "deploy" in cluster.served())
        assert not any(state.is_missed for state in cluster.queues(cluster.workers()))


def test_a_run_names_a_queue_that_no_worker_serves(engine: Engine) -> None:
    """It names the queue and the command once, goes on waiting, and ends well with a worker."""
    plan = make_plan(Wanted("carbon"))
    plan = replace(plan, builds=tuple(replace(build, features=("cuda",)) for build in plan.builds))
    with engine.worker(queues=("deploy",)), engine.driving(plan) as ended:
        wait_until(lambda: "queue_unserved" in {event.event for event in engine.events})
        time.sleep(1.5)
        assert not ended
        with engine.worker(queues=("build.x86_64-linux.cuda",)):
            wait_until(lambda: bool(ended))
    assert ended["carbon"].outcome is Outcome.DEPLOYED
    (told,) = [event for event in engine.events if event.event == "queue_unserved"]
    assert plain_lines(told) == [
        "no worker serves build.x86_64-linux.cuda, and steps of this run wait for one",
        "  next: orchestrate worker --serve build.x86_64-linux.cuda, on this run's broker",
    ]


def test_a_run_that_no_worker_serves_can_be_cancelled(engine: Engine) -> None:
    """What was sent to a queue without a worker is taken back; a late worker begins nothing."""
    plan = make_plan(Wanted("carbon"))
    with engine.driving(plan) as ended:
        wait_until(lambda: bool(engine.journal(plan).records()))
        engine.journal(plan).set_control(Control.CANCEL)
    assert ended["carbon"].outcome is Outcome.SKIPPED
    client = open_client(engine.broker)
    with engine.worker():
        wait_until(lambda: client.llen("build.x86_64-linux") == 0)
    assert engine.ran(plan) == []


def test_a_damaged_entry_is_no_worker(engine: Engine) -> None:
    """What can't be read in the registry ends no run and no command."""
    client = open_client(engine.broker)
    for name, entry in (("a:1", b"\xff"), ("b:2", b'{"name": 3}')):
        client.set(f"orchestrate:worker:{name}", entry)
        client.zadd("orchestrate:workers", {name: time.time()})
    assert Cluster(client).workers() == ()


def test_who_serves_what_is_listed(engine: Engine, tmp_path: Path) -> None:
    """`orchestrate worker` is in the list of `orchestrate workers`, which names what is missed."""
    plan = make_plan(Wanted("carbon"))
    engine.journal(plan).create(plan)
    serving = [*ORCHESTRATE, "worker", "--serve", "deploy,build.x86_64-linux.cuda"]
    worker = subprocess.Popen([*serving, "--broker", engine.broker], cwd=tmp_path)
    cluster = Cluster(open_client(engine.broker))
    listing = [*ORCHESTRATE, "workers", "--broker", engine.broker]
    try:
        wait_until(lambda: bool(cluster.workers()))
        text = subprocess.check_output(listing, cwd=tmp_path, text=True)
        lines = subprocess.check_output([*listing, "--json"], cwd=tmp_path).splitlines()
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
    assert f"{socket.gethostname()}:{worker.pid}: 0 of 8 busy" in text
    assert "serves deploy, build.x86_64-linux.cuda" in text
    assert "next: orchestrate worker --serve build.x86_64-linux\n" in text
    found, *queues = (json.loads(line) for line in lines)
    assert found["worker"] == f"{socket.gethostname()}:{worker.pid}"
    assert {state["queue"]: state["missed"] for state in queues} == {
        "deploy": False,
        "build.x86_64-linux.cuda": False,
        "build.x86_64-linux": True,
    }
