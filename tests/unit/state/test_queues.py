"""Which queue a step goes to, and what a worker may be told to serve."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import UsageError
from orchestrator.model.journal import Step, StepKey
from orchestrator.model.queue import QUEUES, parse_queues
from orchestrator.state.workers import queue_of
from tests.plans import Wanted, derivation, make_plan


@pytest.mark.parametrize(
    ("features", "queue"),
    [
        ((), "build.x86_64-linux"),
        (("cuda",), "build.x86_64-linux.cuda"),
        (("rocm", "cuda"), "build.x86_64-linux.cuda.rocm"),
        (("gccarch-x86-64-v4",), "build.x86_64-linux"),
        (("big-parallel", "cuda", "gccarch-x86-64-v3"), "build.x86_64-linux.cuda"),
    ],
)
def test_only_gpu_features_make_a_queue(features: tuple[str, ...], queue: str) -> None:
    """A feature that says which builder fits makes no queue that nobody would serve."""
    plan = make_plan(Wanted("carbon"))
    plan = replace(plan, builds=tuple(replace(build, features=features) for build in plan.builds))
    assert queue_of(plan, StepKey(Step.BUILD, derivation("llama-shared"))) == queue
    assert queue in QUEUES


def test_steps_on_a_target_go_to_deploy() -> None:
    """Whatever is done to a host is for whoever serves `deploy`."""
    plan = make_plan(Wanted("carbon"))
    steps = [step for step in Step if step is not Step.BUILD]
    assert {queue_of(plan, StepKey(step, "carbon")) for step in steps} == {"deploy"}


def test_names_of_queues_are_read() -> None:
    """Blanks, a name given twice and features in another order change nothing."""
    text = " deploy, build.aarch64-linux.rocm.cuda,deploy"
    assert parse_queues(text) == ("deploy", "build.aarch64-linux.cuda.rocm")
    assert parse_queues(",".join(QUEUES)) == QUEUES


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("deplyo", "did you mean deploy?"),
        ("build.x86-64-linux", "did you mean build.x86_64-linux"),
        ("build.x86_64-linux.gccarch-x86-64-v3", "did you mean build.x86_64-linux"),
        ("build.x86_64-linux.cuda.cuda", "did you mean build.x86_64-linux.cuda"),
        ("build", "it is deploy, or build.<system>"),
        ("", "it is deploy, or build.<system>"),
        ("deploy,", "it is deploy, or build.<system>"),
    ],
)
def test_a_queue_that_nobody_would_send_to_is_refused(text: str, hint: str) -> None:
    """A worker that would wait for ever is an error, with what was probably meant."""
    with pytest.raises(UsageError, match="is no queue") as caught:
        parse_queues(text)
    assert caught.value.hint.startswith(hint)
