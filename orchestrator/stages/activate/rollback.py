"""Rollback: back to the very system that ran before, and the proof of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.errors import StageError
from orchestrator.model.report import RollbackReport, SmokeReport, Verdict
from orchestrator.model.stage import Stage
from orchestrator.model.store import StorePath, parse_store_path
from orchestrator.stages.activate.switch import (
    UNITS_FAILED,
    activation_failure,
    activation_script,
    whole,
)

if TYPE_CHECKING:
    from orchestrator.command import CommandResult
    from orchestrator.stages.activate.switch import Activation
    from orchestrator.transport.session import Session


_MARGIN = 120.0
"""Seconds for all but the activation: the way back's own end, the boot loader."""

UNTOUCHED = 77
"""rollback.sh's exit code where the run has changed nothing on the host."""

_REBOOTED = re.compile(r"^rebooted=yes$", re.MULTILINE)
_RUNNING = re.compile(r"^running=(.+)$", re.MULTILINE)


def reactivate(session: Session, activation: Activation, previous: StorePath) -> CommandResult:
    """Activate `previous`, and boot what booted before where that has changed.

    A host that the switch has not begun to change is left as it is, whatever runs.
    One whose activation of the old system fails may reboot into its boot default,
    which ends the session; done again, this finds it so.

    Raises:
        UnreachableError: the connection broke; done again, it waits for the end.
        CommandError: the old system doesn't run afterwards.
    """
    command = activation_script(
        "activate/rollback.sh",
        previous,
        activation.toplevel,
        activation.boot_default or "",
        activation.run,
        whole(activation.way_back_timeout),
        activation.last_resort,
        activation.boot_id,
        whole(activation.patience),
        timeout=activation.within(3 * activation.way_back_timeout) + _MARGIN,
    )
    result = session.run_as_root(command)
    if result.returncode == UNTOUCHED:
        return result
    if result.returncode not in (0, UNITS_FAILED):
        raise activation_failure(result, Stage.ROLLBACK, "the old system can't be activated")
    if running_after(result.stdout) != previous:
        raise activation_failure(result, Stage.ROLLBACK, "another system runs than the old one")
    return result


def running_after(output: str) -> StorePath | None:
    """Read what the host runs out of the script's output."""
    found = _RUNNING.search(output)
    return parse_store_path(found[1]) if found else None


def verdict(
    host: str,
    previous: StorePath | None,
    reactivated: CommandResult | StageError | None,
    smoke: SmokeReport | None,
) -> RollbackReport:
    """Decide how a rollback ended. Pure.

    Args:
        host: the inventory name.
        previous: what ran before; None where nothing was there to go back to.
        reactivated: what the activation of the old system said.
        smoke: the smoke of the old system; None where it has no llama-cli.
    """
    if previous is None:
        detail = "it ran no NixOS system before: nothing to go back to"
        return RollbackReport(host, Verdict.NEEDS_HANDS, None, None, detail)
    if reactivated is None or isinstance(reactivated, StageError):
        detail = reactivated.message if reactivated else "the old system was not activated"
        return RollbackReport(host, Verdict.NEEDS_HANDS, None, None, detail)
    if reactivated.returncode == UNTOUCHED:
        runs_now = running_after(reactivated.stdout)
        return RollbackReport(host, Verdict.UNTOUCHED, runs_now, None, "nothing was changed there")
    runs = "the old system runs"
    if _REBOOTED.search(reactivated.stdout):
        runs = "the old system runs, after a reboot"
    if reactivated.returncode == UNITS_FAILED:
        detail = f"{runs}, with failed units"
        return RollbackReport(host, Verdict.DEGRADED, previous, smoke, detail)
    if smoke is not None and not smoke.passed:
        detail = f"{runs}, but its llama-cli fails too: {smoke.failure}"
        return RollbackReport(host, Verdict.DEGRADED, previous, smoke, detail)
    return RollbackReport(host, Verdict.GOOD, previous, smoke, runs)
