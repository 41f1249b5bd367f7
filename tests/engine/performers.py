"""What the workers of these tests do with a step: note that it ran, and answer.

A host's name says what its switch does beside that.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

from orchestrator.errors import StageError
from orchestrator.model.journal import Step
from orchestrator.model.report import (
    BuildReport,
    CopyReport,
    RollbackReport,
    SmokeReport,
    SwitchReport,
    Verdict,
)
from orchestrator.model.store import parse_derivation_path

if TYPE_CHECKING:
    from orchestrator.model.journal import StepKey
    from orchestrator.model.plan import Plan
    from orchestrator.model.report import Report
    from orchestrator.state.journal import Journal

SLOW_SECONDS = 2.0


def ran_key(run: str) -> str:
    """Name the list of the steps that were run."""
    return f"test:{run}:ran"


def perform(journal: Journal, plan: Plan, key: StepKey) -> Report:
    """Note the step and answer it; the switch of `slow` takes its time once."""
    journal.client.rpush(ran_key(journal.run), str(key))
    if key.step is Step.SWITCH:
        _switch(journal, key)
    return _report(plan, key)


def _report(plan: Plan, key: StepKey) -> Report:
    if key.step is Step.BUILD:
        build = plan.build(parse_derivation_path(key.subject))
        return BuildReport(build.derivation, build.output, build.builder, 1.0, was_valid=False)
    host = plan.host(key.subject)
    wanted = host.evaluation.toplevel
    reports: dict[Step, Report] = {
        Step.COPY: CopyReport(host.name, 1, 1, "it is there already"),
        Step.SWITCH: SwitchReport(host.name, host.previous, wanted, 0),
        Step.SMOKE: SmokeReport(
            host=host.name,
            passed=True,
            backend=None,
            device="CPU",
            tokens_per_second=10.0,
            prompt_tokens_per_second=10.0,
            text="Paris",
        ),
        Step.CONFIRM: SwitchReport(host.name, host.previous, wanted, 0, boots=wanted),
        Step.ROLLBACK: RollbackReport(host.name, Verdict.ROLLED_BACK, None, None),
    }
    return reports[key.step]


def _switch(journal: Journal, key: StepKey) -> None:
    ran: Any = journal.client.lrange(ran_key(journal.run), 0, -1)
    if key.subject == "slow" and ran.count(str(key).encode()) == 1:
        time.sleep(SLOW_SECONDS)
    if key.subject.startswith("takes-"):
        time.sleep(float(key.subject.removeprefix("takes-")))
    if key.subject == "deadly-last":
        # The others have begun by then, and have not ended.
        time.sleep(0.3)
    if key.subject.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    if key.subject == "refuses":
        raise StageError(message="it doesn't want to", host=key.subject, stage=key.step)
    if key.subject == "defect":
        raise ZeroDivisionError
