"""Health check: what the user wants to be true of a new system before it stays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orchestrator.command import Command, last_lines, script
from orchestrator.errors import UnreachableError
from orchestrator.model.report import HealthReport
from orchestrator.model.stage import Stage
from orchestrator.transport.shell import LOST, TIMED_OUT

if TYPE_CHECKING:
    from inventory.host import HealthCheck
    from orchestrator.transport.shell import Shell


_MARGIN = 30.0
_KILLED = 137


async def check_health(shell: Shell, health: HealthCheck) -> HealthReport:
    """Run the user's command on the host, as root; its exit code decides.

    Raises:
        UnreachableError: the connection broke; nothing is known of the system.
        CommandError: it failed, or did not end in time; with its last lines.
    """
    began = time.monotonic()
    # It is ended on the host itself; our own timeout is the net under that.
    seconds = f"{health.timeout:g}"
    bounded = script(_BOUNDED, seconds, *health.argv, timeout=health.timeout + _MARGIN)
    result = await shell.run_as_root(bounded)
    if result.returncode == LOST:
        raise UnreachableError(
            message="the connection broke during the health check",
            hint="check its network; it goes back by itself when nobody confirms",
            host=shell.host,
            stage=Stage.HEALTH_CHECK,
        )
    if result.returncode != 0:
        late = result.returncode in (TIMED_OUT, _KILLED)
        what = f"did not end within {seconds} seconds" if late else "failed"
        error = result.failure(Stage.HEALTH_CHECK, f"the health check {what}")
        error.command = Command(health.argv).line()
        error.hint = error.hint or "run it there by hand, as root; see orchestrate_health_check"
        raise error
    return HealthReport(shell.host, time.monotonic() - began, last_lines(result.stdout))


# What it says on either stream is one text, in the order in which it was said.
_BOUNDED = 'exec timeout -k 5 "$@" </dev/null 2>&1\n'
