"""Boot: the next boot gives the new system; what runs is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.model.guard import Guard
from orchestrator.model.report import BootReport
from orchestrator.model.stage import Stage
from orchestrator.scripts import ScriptExit, read
from orchestrator.stages.activate.activation import activation_failure, activation_script, whole

if TYPE_CHECKING:
    from orchestrator.stages.activate.activation import Activation
    from orchestrator.transport.session import Session


_TIMEOUT = 600.0
_MARGIN = 30.0


def make_boot_default(
    session: Session, activation: Activation, *, goes_back: bool = False
) -> BootReport:
    """Set profile and boot loader without activating.

    Args:
        session: the host's.
        activation: the system that is to boot.
        goes_back: whether it ran before, so that no check of it keeps it from that.

    Raises:
        UnreachableError: the connection broke; done again, it waits for the end.
        CommandError: it can't be set; what booted before is set again.
    """
    command = activation_script(
        "boot.sh",
        new=activation.toplevel,
        default=activation.boot_default or "",
        checks="skip" if goes_back else "ask",
        run=activation.run,
        nixos_rebuild=activation.nixos_rebuild or "",
        generation=str(activation.generation or ""),
        seconds=whole(_TIMEOUT),
        patience=whole(activation.patience),
        timeout=activation.within(2 * _TIMEOUT) + _MARGIN,
    )
    result = session.run_as_root(command)
    answer = read(result)
    if answer.end is ScriptExit.DONE:
        return BootReport(activation.host, activation.boot_default, activation.toplevel)
    which = "old" if goes_back else "new"
    failed = f"the {which} system can't be made the boot default"
    error = activation_failure(result, answer, Stage.BOOT, failed, Guard.NONE)
    if boots := answer.get("boots"):
        error.message = f"{error.message}; it boots {boots}"
    raise error
