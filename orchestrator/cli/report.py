"""How a run ended: the summary for a reader, the exit code for a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.render.tables import summary
from orchestrator.model.report import Outcome, Verdict

if TYPE_CHECKING:
    from orchestrator.model.report import HostResult

_NEED_REPAIR = (Verdict.NEEDS_REPAIR, Verdict.DEGRADED)


def report(ended: dict[str, HostResult], *, as_json: bool) -> int:
    """Print the summary, unless the events were it, and return the exit code."""
    if not as_json:
        if all(result.outcome is Outcome.UNCHANGED for result in ended.values()):
            click.echo("nothing to do: every host runs and boots what it should")
        click.echo(summary(ended))
    return exit_code(ended)


def exit_code(ended: dict[str, HostResult]) -> int:
    """Return 0 if all is good, 3 if a host isn't, 4 if one needs manual repair."""
    if any(result.verdict in _NEED_REPAIR for result in ended.values()):
        return 4
    good = all(result.is_good for result in ended.values())
    return 0 if good else 3
