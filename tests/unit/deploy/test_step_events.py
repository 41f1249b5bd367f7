"""The events of a run's steps."""

from __future__ import annotations

from orchestrator.deploy.step_events import step_event
from orchestrator.model.event import StageStarted
from orchestrator.model.journal import Step, StepKey
from tests.plans import derivation


def test_an_event_of_a_build_names_its_derivation() -> None:
    """Whatever happens to a build is found by it; nothing else has the key."""
    key = StepKey(Step.BUILD, derivation("llama"))
    started = step_event("run-1", "forge", key, StageStarted())
    assert started.line()["derivation"] == derivation("llama")
    assert started.body.sentence == "building llama"
    switch = step_event("run-1", "carbon", StepKey(Step.SWITCH, "carbon"), StageStarted())
    assert "derivation" not in switch.line()
