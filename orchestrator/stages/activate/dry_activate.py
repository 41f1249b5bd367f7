"""Dry activation: what a switch would do to a host, which is left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.command import printable
from orchestrator.model.guard import Guard
from orchestrator.model.report import DryActivationReport
from orchestrator.model.stage import Stage
from orchestrator.scripts import ScriptExit, read, script
from orchestrator.stages.activate.activation import activation_failure

if TYPE_CHECKING:
    from orchestrator.model.store import StorePath
    from orchestrator.transport.session import Session


_TIMEOUT = 120.0


def dry_activate(session: Session, toplevel: StorePath) -> DryActivationReport:
    """Ask a system that is on the host what its activation would do.

    Raises:
        StageError: it doesn't say.
    """
    command = script("stages/activate/dry_activate.sh", toplevel=toplevel, timeout=_TIMEOUT)
    result = session.run_as_root(command)
    answer = read(result)
    if answer.end is not ScriptExit.DONE:
        failed = "the dry activation failed"
        raise activation_failure(result, answer, Stage.DRY_ACTIVATE, failed, Guard.NONE)
    lines = tuple(printable(line) for line in answer.output.splitlines() if line.strip())
    return DryActivationReport(session.host.name, lines)
