"""Rollback: back to the very system that ran before, and the proof of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.command import last_lines
from orchestrator.errors import CommandError, StageError
from orchestrator.model.guard import Guard
from orchestrator.model.report import RollbackReport, SmokeReport, Verdict
from orchestrator.model.stage import Stage
from orchestrator.model.store import StorePath, parse_store_path
from orchestrator.scripts import ScriptExit, read
from orchestrator.stages.activate.activation import (
    activation_failure,
    activation_script,
    units_remain_failed,
    whole,
)
from orchestrator.stages.store_contents import damage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.stages.activate.activation import Activation
    from orchestrator.transport.session import Session


_MARGIN = 120.0
"""Seconds for all but the activation: the end of an automatic rollback, the boot loader."""


@dataclass(frozen=True, slots=True)
class Reactivation:
    """What became of the host when its old system was activated.

    Args:
        running: what runs now; None if it is no NixOS system.
        untouched: whether the run had changed nothing there, and nothing was done.
        rebooted: whether the host has rebooted since the plan was made.
        units_failed: whether units of the old system failed.
    """

    running: StorePath | None
    untouched: bool = False
    rebooted: bool = False
    units_failed: bool = False


def reactivate(session: Session, activation: Activation, previous: StorePath) -> Reactivation:
    """Activate `previous`, and boot what booted before if that has changed.

    A host that the switch has not begun to change is left as it is, whatever runs.
    One whose activation of the old system fails may reboot into its boot default,
    which ends the session; done again, this finds it so.

    Raises:
        UnreachableError: the connection broke; done again, it waits for the end.
        CommandError: the old system doesn't run afterwards.
    """
    command = activation_script(
        "rollback.sh",
        old=previous,
        new=activation.toplevel,
        default=activation.boot_default or "",
        run=activation.run,
        seconds=whole(activation.way_back_timeout),
        last_resort=activation.last_resort,
        boot_id=activation.boot_id,
        patience=whole(activation.patience),
        tools=activation.tools,
        timeout=activation.within(3 * activation.way_back_timeout) + _MARGIN,
    )
    result = session.run_as_root(command)
    answer = read(result)
    failed = "the old system can't be activated"
    if answer.end not in {ScriptExit.DONE, ScriptExit.NOT_BEGUN}:
        raise activation_failure(result, answer, Stage.ROLLBACK, failed, Guard.ROLLING_BACK)
    running = parse_store_path(answer.get("running")) if answer.get("running") else None
    if answer.end is ScriptExit.NOT_BEGUN:
        return Reactivation(running, untouched=True)
    if running != previous:
        message = f"the old system was activated, and the host runs {running or 'no system'}"
        raise CommandError(
            message,
            hint="look there: journalctl -b -e; /run/orchestrate/activation.log",
            host=activation.host,
            stage=Stage.ROLLBACK,
            last_lines=last_lines(answer.output),
        )
    return Reactivation(
        running,
        rebooted=answer.get("rebooted") == "yes",
        units_failed=units_remain_failed(answer),
    )


def verdict(
    host: str,
    previous: StorePath | None,
    reactivated: Reactivation | StageError | None,
    smoke: SmokeReport | None,
) -> RollbackReport:
    """Decide how a rollback ended. Pure.

    Args:
        host: the inventory name.
        previous: what ran before; None if nothing was there to go back to.
        reactivated: what the activation of the old system came to.
        smoke: the smoke test of the old system; None if it has no llama-cli.
    """
    if previous is None:
        detail = "it ran no NixOS system before: nothing to go back to"
        return RollbackReport(host, Verdict.NEEDS_REPAIR, None, None, detail)
    if reactivated is None or isinstance(reactivated, StageError):
        detail = reactivated.message if reactivated else "the old system was not activated"
        return RollbackReport(host, Verdict.NEEDS_REPAIR, None, None, detail)
    if reactivated.untouched:
        detail = "nothing was changed there"
        return RollbackReport(host, Verdict.UNTOUCHED, reactivated.running, None, detail)
    runs = "the old system runs"
    if reactivated.rebooted:
        runs = "the old system runs, after a reboot"
    if reactivated.units_failed:
        detail = f"{runs}, with failed units"
        return RollbackReport(host, Verdict.DEGRADED, previous, smoke, detail)
    if smoke is not None and not smoke.passed:
        detail = f"{runs}, but its llama-cli fails too: {smoke.failure}"
        return RollbackReport(host, Verdict.DEGRADED, previous, smoke, detail)
    return RollbackReport(host, Verdict.ROLLED_BACK, previous, smoke, runs)


def with_damage(report: RollbackReport, damaged: Sequence[str]) -> RollbackReport:
    """Say of a host that went back that its disk has spoilt the new system. Pure."""
    if not damaged:
        return report
    detail = f"{report.detail}, but {damage(damaged)}"
    return replace(report, detail=detail, damaged=tuple(damaged))
