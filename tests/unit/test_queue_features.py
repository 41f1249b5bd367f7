"""Which queue a build goes to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.deploy.drive import queue_of
from orchestrator.model.journal import Step, StepKey
from tests.plans import Wanted, derivation, make_plan


@pytest.mark.parametrize(
    ("features", "queue"),
    [
        ((), "build.x86_64-linux"),
        (("big-parallel", "gccarch-x86-64-v3"), "build.x86_64-linux"),
        (("big-parallel", "cuda"), "build.x86_64-linux.cuda"),
        (("rocm",), "build.x86_64-linux.rocm"),
    ],
)
def test_only_gpu_toolkits_have_queues(features: tuple[str, ...], queue: str) -> None:
    """What else a build requires is the builder's affair, and no worker's."""
    plan = make_plan(Wanted("carbon"))
    plan = replace(plan, builds=tuple(replace(build, features=features) for build in plan.builds))
    assert queue_of(plan, StepKey(Step.BUILD, derivation("llama-shared"))) == queue
