"""Health check: what the user wants to be true of a new system before it stays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orchestrator.command import Command, last_lines
from orchestrator.errors import UnreachableError
from orchestrator.hints import hint_for
from orchestrator.model.report import HealthReport
from orchestrator.model.stage import Stage
from orchestrator.scripts import failure, read, script
from orchestrator.transport.shell import LOST, TIMED_OUT

if TYPE_CHECKING:
    from inventory.host import HealthCheck
    from orchestrator.command import CommandResult
    from orchestrator.errors import StageError
    from orchestrator.model.guard import Guard
    from orchestrator.model.store import StorePath
    from orchestrator.scripts import Answer
    from orchestrator.transport.shell import Shell


_MARGIN = 30.0
_LATE = ("124", "137")
"""timeout(1): it was ended, or killed when it ignored that."""


async def check_health(
    shell: Shell, health: HealthCheck, guard: Guard, tools: StorePath | None = None
) -> HealthReport:
    """Run the user's command on the host, as root; its exit code decides.

    Args:
        shell: the host.
        health: the command, and how long it may take.
        guard: what the host does by itself meanwhile.
        tools: the system whose programs our script uses; None for those of the PATH.

    Raises:
        UnreachableError: the connection broke; nothing is known of the system.
        CommandError: it failed, or did not end in time; with its last lines.
    """
    began = time.monotonic()
    # It is ended on the host itself; our own timeout is the net under that.
    seconds = f"{health.timeout:g}"
    timeout = health.timeout + _MARGIN
    bounded = script(
        "stages/smoke/health_check.sh",
        *health.argv,
        seconds=seconds,
        timeout=timeout,
        tools=tools,
    )
    result = await shell.run_as_root(bounded)
    if result.returncode == LOST:
        raise UnreachableError(
            message="the connection broke during the health check",
            hint=f"check its network; {guard.value}",
            host=shell.host,
            stage=Stage.HEALTH_CHECK,
        )
    answer = read(result)
    if answer.get("code") != "0" or answer.end is None:
        raise _failed(health, result, answer)
    return HealthReport(shell.host, time.monotonic() - began, last_lines(answer.output))


def _failed(health: HealthCheck, result: CommandResult, answer: Answer) -> StageError:
    code = answer.get("code") if answer.end is not None else str(result.returncode)
    late = result.returncode == TIMED_OUT or code in _LATE
    what = f"did not end within {health.timeout:g} seconds" if late else "failed"
    error = failure(result, answer, Stage.HEALTH_CHECK, f"the health check {what}")
    error.message = f"the health check {what} (exit code {code})"
    error.command = Command(health.argv).line()
    by_hand = "run it there by hand, as root; see orchestrate_health_check"
    error.hint = hint_for("\n".join(error.last_lines)) or by_hand
    return error
