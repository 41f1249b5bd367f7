"""Boot: the next boot gives the new system; what runs is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.model.report import BootReport
from orchestrator.model.stage import Stage
from orchestrator.stages.activate.switch import activation_failure, activation_script, whole

if TYPE_CHECKING:
    from orchestrator.stages.activate.switch import Activation
    from orchestrator.transport.session import Session


_TIMEOUT = 600.0
_MARGIN = 30.0


def make_boot_default(session: Session, activation: Activation) -> BootReport:
    """Set profile and boot loader without activating.

    Raises:
        UnreachableError: the connection broke; done again, it waits for the end.
        CommandError: it can't be set; what booted before is set again.
    """
    command = activation_script(
        "activate/boot.sh",
        activation.toplevel,
        activation.boot_default or "",
        activation.run,
        activation.activator,
        whole(_TIMEOUT),
        whole(activation.patience),
        timeout=activation.within(2 * _TIMEOUT) + _MARGIN,
    )
    result = session.run_as_root(command)
    if result.returncode != 0:
        raise activation_failure(
            result, Stage.BOOT, "the new system can't be made the boot default"
        )
    return BootReport(activation.host, activation.boot_default, activation.toplevel)
