"""Perform a reboot: only where it is needed, and waited for until the new system is proven."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orchestrator.errors import CommandError, StageError, UnreachableError
from orchestrator.model.report import RebootReport
from orchestrator.stages.reboot import STAGE, check_rebooted, look, reboot
from orchestrator.transport.session import session

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.deploy.context import Context
    from orchestrator.model.plan import HostPlan
    from orchestrator.model.report import SmokeReport
    from orchestrator.stages.reboot import BootState

_INTERVAL = 1.0
"""Seconds between two looks at a host that reboots."""


def perform_reboot(
    context: Context, host: HostPlan, smoke: Callable[[], SmokeReport]
) -> RebootReport:
    """Reboot a host whose kernel, initrd or drivers have changed, and prove what it boots.

    Done again after a worker's death, it finds a reboot that is done, and
    reboots no more.

    Raises:
        StageError: it isn't back in time, boots another system, or its
            llama-cli fails.
    """
    began = time.monotonic()
    deadline = began + host.host.reboot_timeout
    before = _wait(host, "", deadline)
    after = before
    if before.needs_reboot:
        with session(host.host) as opened:
            reboot(opened)
        after = _wait(host, before.boot_id, deadline)
        check_rebooted(host.name, before, after, host.evaluation.toplevel)
    elif before.boot_id == host.facts.boot_id:
        return RebootReport(host.name, (), before.boot_id, 0.0)
    # Its connection may be of before the reboot.
    context.runtime.run(context.runtime.pool.drop(host.host))
    smoked = _passed(host, smoke())
    return RebootReport(host.name, before.changed, after.boot_id, time.monotonic() - began, smoked)


def _passed(host: HostPlan, smoked: SmokeReport) -> SmokeReport:
    if smoked.passed:
        return smoked
    raise StageError(
        message=f"it has booted the new system, and its llama-cli fails: {smoked.failure}",
        hint=f"`orchestrate rollback {host.name}` takes it to its previous generation",
        host=host.name,
        stage=STAGE,
        last_lines=smoked.last_lines,
    )


def _wait(host: HostPlan, boot_id: str, deadline: float) -> BootState:
    """Look again and again until the host answers from another boot than `boot_id`.

    Raises:
        StageError: it doesn't in time.
    """
    while time.monotonic() < deadline:
        state = _try_look(host)
        if state is not None and state.boot_id != boot_id:
            return state
        time.sleep(_INTERVAL)
    raise StageError(
        message=f"it is not back from its reboot within {host.host.reboot_timeout:g} seconds",
        hint="look at its console; its boot default is the new system, and"
        " orchestrate_reboot_timeout is how long it may take",
        host=host.name,
        stage=STAGE,
    )


def _try_look(host: HostPlan) -> BootState | None:
    try:
        with session(host.host) as opened:
            return look(opened, host.evaluation.toplevel)
    except (UnreachableError, CommandError):
        return None
