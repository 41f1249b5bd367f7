"""Switch: note what runs, arm the automatic rollback, activate by `test`.

Nothing on disk says "boot this" before the smoke test has passed. The rollback timer is a
transient one on the target itself: if no confirmation comes, because the
controller, the worker or the network is dead, the old system comes back alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.model.stage import Stage
from orchestrator.scripts import ScriptExit, read, sent
from orchestrator.stages.activate.activation import (
    activated,
    activation_failure,
    activation_script,
    whole,
)

if TYPE_CHECKING:
    from orchestrator.command import CommandResult
    from orchestrator.model.report import SwitchReport
    from orchestrator.scripts import Answer
    from orchestrator.stages.activate.activation import Activation
    from orchestrator.transport.session import Privileged


_MARGIN = 5.0
"""Seconds that a session may need on top of what it waits for."""


def switch(host: Privileged, activation: Activation) -> SwitchReport:
    """Activate a system, with the automatic rollback armed.

    Raises:
        UnreachableError: the connection broke; the activation goes on, with the
            automatic rollback armed.
        StageError: the activation failed, or somebody else changed the host.
    """
    command = activation_script(
        "switch.sh",
        new=activation.toplevel,
        old=activation.previous or "",
        run=activation.run,
        seconds=whole(activation.confirm_timeout),
        nixos_rebuild=activation.nixos_rebuild or "",
        rollback=sent("stages/activate/activate.sh", "stages/activate/automatic_rollback.sh"),
        rollback_seconds=whole(activation.way_back_timeout),
        last_resort=activation.last_resort,
        patience=whole(activation.patience),
        tools=activation.tools,
        timeout=activation.within(activation.confirm_timeout) + _MARGIN,
    )
    result = host.run_as_root(command)
    return _switched(result, read(result), activation)


def await_switch(host: Privileged, activation: Activation) -> SwitchReport | None:
    """Wait for the end of an activation that took its own connection away.

    Returns:
        None if the connection was gone before anything was begun.

    Raises:
        UnreachableError: the connection broke again.
        StageError: the activation failed, or the host went back.
    """
    command = activation_script(
        "await_switch.sh",
        new=activation.toplevel,
        run=activation.run,
        seconds=whole(activation.confirm_timeout),
        patience=whole(activation.patience),
        tools=activation.tools,
        boot_id=activation.boot_id,
        timeout=activation.within(activation.confirm_timeout) + _MARGIN,
    )
    result = host.run_as_root(command)
    answer = read(result)
    return None if answer.end is ScriptExit.NOT_BEGUN else _switched(result, answer, activation)


def _switched(result: CommandResult, answer: Answer, activation: Activation) -> SwitchReport:
    report = activated(answer, activation)
    if report is None:
        failed = "the switch failed"
        error = activation_failure(result, answer, Stage.SWITCH, failed, activation.guard)
        if answer.end is ScriptExit.GOES_ON:
            late = f"the activation did not end within {activation.confirm_timeout:g} seconds"
            error.message = f"{failed}: {late}"
        raise error
    return report
