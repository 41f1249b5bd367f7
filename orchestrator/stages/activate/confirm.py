"""Confirm: the new system becomes the boot default, over a new connection."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.model.guard import Guard
from orchestrator.model.stage import Stage
from orchestrator.scripts import read
from orchestrator.stages.activate.activation import (
    activated,
    activation_failure,
    activation_script,
    whole,
)

if TYPE_CHECKING:
    from orchestrator.command import Command
    from orchestrator.model.report import SwitchReport
    from orchestrator.stages.activate.activation import Activation
    from orchestrator.transport.session import Session


_BOOT_LOADER = 60.0
"""Seconds for profile and boot loader, on top of those that an activation may take."""

_MARGIN = 30.0


def confirm(session: Session, activation: Activation) -> SwitchReport:
    """Disarm the automatic rollback and make what runs the boot default.

    Args:
        session: a session opened after the switch: that it opens is part of
            what is being confirmed.
        activation: the one that was switched to.

    Raises:
        UnreachableError: the connection broke; done again, it waits for the end.
        CommandError: the host went back before, or the boot default can't be set.
    """
    # By now no automatic rollback is armed: what hangs must not keep the host for long.
    limit = activation.confirm_timeout + _BOOT_LOADER
    command = activation_script(
        "confirm.sh",
        new=activation.toplevel,
        old=activation.previous or "",
        run=activation.run,
        nixos_rebuild=activation.nixos_rebuild or "",
        generation=str(activation.generation or ""),
        seconds=whole(limit),
        patience=whole(activation.patience),
        tools=activation.tools,
        timeout=activation.within(limit) + _MARGIN,
    )
    return replace(_confirmed(session, command, activation), boots=activation.toplevel)


def disarm(session: Session, activation: Activation) -> SwitchReport:
    """Disarm the automatic rollback and leave the boot default as it is.

    Raises:
        UnreachableError: the connection broke; it can be done again.
        CommandError: the host went back before.
    """
    command = activation_script(
        "disarm.sh",
        new=activation.toplevel,
        old=activation.previous or "",
        run=activation.run,
        patience=whole(activation.patience),
        tools=activation.tools,
        timeout=activation.patience + _MARGIN,
    )
    return _confirmed(session, command, activation)


def _confirmed(session: Session, command: Command, activation: Activation) -> SwitchReport:
    result = session.run_as_root(command)
    answer = read(result)
    report = activated(answer, activation)
    if report is None:
        failed = "the confirmation failed"
        raise activation_failure(result, answer, Stage.CONFIRM, failed, Guard.BEING_DISARMED)
    return report
