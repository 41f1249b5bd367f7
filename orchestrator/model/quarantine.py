"""What a failed smoke test is held against. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.model.report import Fault

if TYPE_CHECKING:
    from orchestrator.model.plan import Evaluation
    from orchestrator.model.report import SmokeReport
    from orchestrator.model.store import StorePath


def blamed(report: SmokeReport, evaluation: Evaluation) -> tuple[StorePath, ...]:
    """Return what a smoke test speaks against: the system, its llama package, or nothing."""
    if report.fault in (None, Fault.HOST):
        return ()
    package = evaluation.llama if report.fault is Fault.PACKAGE else None
    return tuple(path for path in (evaluation.toplevel, package) if path is not None)
