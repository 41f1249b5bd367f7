"""A step on a worker whose process is ending: it must not count as failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.deploy.perform.runtime import Runtime, RuntimeClosedError
from orchestrator.deploy.perform.step import carry_out
from orchestrator.model.journal import Step, StepKey, StepState
from tests.plans import Wanted, make_plan

if TYPE_CHECKING:
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import Report
    from orchestrator.state.journal import Journal
    from tests.engine.conftest import Engine

COPY = StepKey(Step.COPY, "carbon")
PLAN = make_plan(Wanted("carbon"))


async def look() -> Report:
    """Stand for whatever a step asks of a host."""
    raise AssertionError


def perform(_journal: Journal, _plan: Plan, _key: StepKey) -> Report:
    """Ask for something on a host after the process closed its connections."""
    runtime = Runtime()
    runtime.close()
    return runtime.run(look())


def test_a_step_of_a_closed_process_is_done_again(engine: Engine) -> None:
    """Its record stays as begun, no failure is told, and once its lease ends it is missed."""
    journal = engine.journal(PLAN)
    journal.create(PLAN)
    token = journal.send(COPY)
    assert token is not None
    assert journal.claim(COPY, token)
    with pytest.raises(RuntimeClosedError):
        carry_out(journal, COPY, token, perform)
    assert journal.records()[COPY].state is StepState.STARTED
    assert [event.event for _, event in journal.events("0", 0.0)] == ["stage_started"]
    journal.client.delete(f"orchestrate:run:{journal.run}:lease:{COPY}")
    assert journal.lost(journal.records()) == (COPY,)
