"""Confirm: the new system becomes the boot default, over a new connection."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.model.stage import Stage
from orchestrator.stages.activate.switch import (
    activated,
    activation_failure,
    activation_script,
    whole,
)

if TYPE_CHECKING:
    from orchestrator.model.report import SwitchReport
    from orchestrator.stages.activate.switch import Activation
    from orchestrator.transport.session import Session


_BOOT_LOADER = 60.0
"""Seconds for profile and boot loader, on top of those that an activation may take."""

_MARGIN = 30.0


def confirm(session: Session, activation: Activation) -> SwitchReport:
    """Disarm the way back and make what runs the boot default.

    Args:
        session: a session opened after the switch: that it opens is part of
            what is being confirmed.
        activation: the one that was switched to.

    Raises:
        UnreachableError: the connection broke; done again, it waits for the end.
        CommandError: the way back was taken, or the boot default can't be set.
    """
    # By now no way back is armed: one that hangs must not keep the host for long.
    limit = activation.confirm_timeout + _BOOT_LOADER
    command = activation_script(
        "activate/confirm.sh",
        activation.toplevel,
        activation.run,
        activation.activator,
        whole(limit),
        whole(activation.patience),
        timeout=activation.within(limit) + _MARGIN,
    )
    result = session.run_as_root(command)
    report = activated(result, activation)
    if report is None:
        raise activation_failure(result, Stage.CONFIRM, "the new system can't be made to stay")
    return replace(report, boots=activation.toplevel)


def disarm(session: Session, activation: Activation) -> SwitchReport:
    """Disarm the way back and leave the boot default as it is.

    Raises:
        UnreachableError: the connection broke; it can be done again.
        CommandError: the way back was taken.
    """
    command = activation_script(
        "activate/keep.sh",
        activation.toplevel,
        activation.run,
        whole(activation.patience),
        timeout=activation.patience + _MARGIN,
    )
    result = session.run_as_root(command)
    report = activated(result, activation)
    if report is None:
        raise activation_failure(result, Stage.CONFIRM, "the new system can't be made to stay")
    return report
