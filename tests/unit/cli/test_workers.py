"""What `orchestrate workers` says of a cluster."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.cli.workers import describe
from orchestrator.model.cluster import QueueState, Work, Worker
from orchestrator.model.journal import Step, StepKey, StepRecord, StepState
from orchestrator.model.plan import Goal
from orchestrator.state.workers import needed_queues
from tests.plans import Wanted, derivation, make_plan

NOW = 1_700_000_000.0
FORGE = Worker(
    name="forge:812",
    version="0.1.0",
    queues=("build.x86_64-linux.cuda", "deploy"),
    concurrency=8,
    visibility_timeout=86400.0,
    started_at=NOW - 7300,
    busy=(
        Work("run-1", "build", derivation("llama-cpp-cuda-0.0.0"), NOW - 200),
        Work("run-1", "switch", "carbon", NOW - 2),
    ),
)


def test_workers_are_shown_with_what_they_do() -> None:
    """A worker has its queues and its steps below it, each with how long it has taken."""
    assert describe((FORGE,), (), NOW) == [
        "forge:812: 2 of 8 busy, up 2 h, version 0.1.0",
        "  serves build.x86_64-linux.cuda, deploy",
        "  build llama-cpp-cuda-0.0.0 for 3 min, run run-1",
        "  switch carbon for 2 s, run run-1",
    ]


def test_a_missed_queue_is_shown_with_what_helps() -> None:
    """A queue that no worker serves is named with the runs that wait, and the command to run."""
    states = (
        QueueState("deploy", ("forge:812",), 3, ("run-1",)),
        QueueState("build.x86_64-linux", (), 1, ("run-1", "run-2")),
        QueueState("build.x86_64-linux.rocm", (), 2, ()),
    )
    assert describe((), states, NOW) == [
        "no worker is there",
        "no worker serves build.x86_64-linux: waited for by 1 message, run run-1, run run-2",
        "  next: orchestrate worker --serve build.x86_64-linux",
        "no worker serves build.x86_64-linux.rocm: waited for by 2 messages",
        "  next: orchestrate worker --serve build.x86_64-linux.rocm",
    ]


def test_a_name_from_the_broker_moves_no_terminal() -> None:
    """A foreign value in the registry is escaped."""
    (first, *_) = describe((replace(FORGE, name="\x1b[2Jforge"),), (), NOW)
    assert "\x1b" not in first


def test_a_run_needs_the_queues_of_what_is_left() -> None:
    """Builds that have ended need no worker; every run but one of builds needs `deploy`."""
    plan = make_plan(Wanted("carbon"))
    cuda = replace(plan.builds[0], features=("cuda",))
    plan = replace(plan, builds=(cuda, *plan.builds[1:]))
    done = {StepKey(Step.BUILD, cuda.derivation): StepRecord(StepState.DONE, 1)}
    assert needed_queues(plan, {}) == {"build.x86_64-linux.cuda", "build.x86_64-linux", "deploy"}
    assert needed_queues(plan, done) == {"build.x86_64-linux", "deploy"}
    assert needed_queues(replace(plan, goal=Goal.BUILD), done) == {"build.x86_64-linux"}
