"""Perform a reboot: only if it is needed, and waited for until the new system is proven."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from orchestrator.deploy.perform.context import activation_of
from orchestrator.deploy.perform.smoke import health_of, smoke_new_system
from orchestrator.errors import RebootedError, StageError
from orchestrator.model.guard import Guard
from orchestrator.model.report import RebootReport
from orchestrator.model.stage import Stage
from orchestrator.stages.activate.boot import make_boot_default
from orchestrator.stages.activate.reboot import check_rebooted, look, reboot
from orchestrator.stages.activate.rollback import Reactivation
from orchestrator.transport.retry import until
from orchestrator.transport.session import session

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.deploy.perform.context import Context
    from orchestrator.model.plan import HostPlan
    from orchestrator.model.report import SmokeReport
    from orchestrator.model.store import StorePath
    from orchestrator.stages.activate.reboot import BootState

T = TypeVar("T")


def perform_reboot(context: Context, host: HostPlan) -> RebootReport:
    """Reboot a host whose kernel, initrd or drivers have changed, and prove what it boots.

    So does one that gets its new system by its reboot.

    Done again after a worker's death, it finds a reboot that is done, and
    reboots no more.

    Raises:
        StageError: it isn't back in time, or boots another system.
        RebootedError: it runs the new system, and fails its smoke test or health check.
    """
    began = time.monotonic()
    deadline = began + host.target.reboot_timeout
    before = _wait(host, "", deadline)
    after = before
    if before.needs_reboot or (host.inhibited_by and before.running != host.evaluation.toplevel):
        with session(host.target) as opened:
            reboot(opened)
        after = _wait(host, before.boot_id, deadline)
        check_rebooted(host.name, before, after, host.evaluation.toplevel)
    elif before.boot_id == host.facts.boot_id:
        return RebootReport(host.name, (), before.boot_id, 0.0)
    # Its connection may be of before the reboot.
    context.runtime.run(context.runtime.pool.drop(host.target))
    # It is confirmed: nothing leads back by itself from here.
    smoked = passes(host, lambda: _passed(smoke_new_system(context, host, Guard.NONE)), deadline)
    healthy = None
    if host.target.health is not None:
        healthy = passes(host, lambda: health_of(context, host, Guard.NONE), deadline)
    seconds = time.monotonic() - began
    return RebootReport(host.name, before.changed, after.boot_id, seconds, smoked, healthy)


def boot_back(context: Context, host: HostPlan, previous: StorePath) -> Reactivation:
    """Take a host back that got its new system by a reboot: by booting the old one.

    Done again, it finds what is done.

    Raises:
        CommandError: the old system can't be made the boot default, or isn't booted.
    """
    deadline = time.monotonic() + host.target.reboot_timeout
    before = _wait(host, "", deadline)
    activation = replace(
        activation_of(context.plan, host),
        toplevel=previous,
        boot_default=host.evaluation.toplevel,
        nixos_rebuild=None,
        generation=None,
    )
    with session(host.target) as opened:
        make_boot_default(opened, activation, goes_back=True)
        if before.running == previous:
            return Reactivation(previous)
        reboot(opened)
    after = _wait(host, before.boot_id, deadline)
    check_rebooted(host.name, before, after, previous)
    context.runtime.run(context.runtime.pool.drop(host.target))
    return Reactivation(previous, rebooted=True)


def _passed(smoked: SmokeReport) -> SmokeReport:
    if not smoked.passed:
        message = f"its llama-cli fails: {smoked.failure}"
        raise StageError(message, last_lines=smoked.last_lines)
    return smoked


def passes(host: HostPlan, check: Callable[[], T], deadline: float) -> T:
    """Check again and again until that passes: what comes up with the host takes a while.

    It is checked once at least.

    Args:
        host: which has booted its new system.
        check: raises a StageError if the host fails it.
        deadline: when to give up, by the monotonic clock.

    Raises:
        RebootedError: it failed to the end; it says where `orchestrate rollback` leads.
    """
    try:
        return until(deadline, check, StageError)
    except StageError as error:
        raise _failed(host, error) from error


def _failed(host: HostPlan, error: StageError) -> RebootedError:
    message = f"it has booted the new system, and fails there: {error.message}"
    if not host.inhibited_by:
        back = host.facts.boot_default or "its generation before"
        message = f"{message}; `orchestrate rollback {host.name}` takes it back to {back}"
    return RebootedError(
        message=message,
        hint=error.hint
        or "look at it there; another kernel or driver needs a reboot to go back too",
        host=host.name,
        stage=Stage.REBOOT,
        command=error.command,
        last_lines=error.last_lines,
    )


def _wait(host: HostPlan, boot_id: str, deadline: float) -> BootState:
    """Look again and again until the host answers from another boot than `boot_id`.

    Raises:
        StageError: it doesn't in time.
    """

    def other_boot() -> BootState:
        with session(host.target) as opened:
            state = look(opened, host.evaluation.toplevel)
        if state.boot_id == boot_id:
            message = "it has not rebooted yet"
            raise StageError(message, host=host.name, stage=Stage.REBOOT)
        return state

    try:
        return until(deadline, other_boot, StageError)
    except StageError as error:
        raise StageError(
            message=f"it is not back from its reboot within {host.target.reboot_timeout:g} seconds",
            hint="look at its console: its boot default is the new system, the one before is in"
            " its boot loader's menu; orchestrate_reboot_timeout is how long it may take",
            host=host.name,
            stage=Stage.REBOOT,
        ) from error
