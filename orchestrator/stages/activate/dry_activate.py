"""Dry activation: what a switch would do to a host, which is left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.command import printable, script
from orchestrator.model.report import DryActivationReport
from orchestrator.model.stage import Stage
from orchestrator.stages.activate.switch import activation_failure

if TYPE_CHECKING:
    from orchestrator.model.store import StorePath
    from orchestrator.transport.session import Session


_TIMEOUT = 120.0
_DRY = 'exec "$1/bin/switch-to-configuration" dry-activate 2>&1\n'


def dry_activate(session: Session, toplevel: StorePath) -> DryActivationReport:
    """Ask a system that is on the host what its activation would do.

    Raises:
        StageError: it doesn't say.
    """
    result = session.run_as_root(script(_DRY, toplevel, timeout=_TIMEOUT))
    if result.returncode != 0:
        raise activation_failure(result, Stage.DRY_ACTIVATE, "the dry activation failed")
    lines = tuple(printable(line) for line in result.stdout.splitlines() if line.strip())
    return DryActivationReport(session.host.name, lines)
