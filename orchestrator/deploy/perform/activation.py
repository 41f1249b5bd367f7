"""Perform what changes the system of a host: switch, confirmation, boot default, rollback."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from inventory.host import Host
from orchestrator.deploy.perform.context import activation_of
from orchestrator.deploy.perform.reboot import boot_back
from orchestrator.deploy.perform.runtime import Runtime
from orchestrator.deploy.perform.smoke import quarantine, smoke_test
from orchestrator.errors import CommandError, StageError, UnreachableError
from orchestrator.model.guard import Guard
from orchestrator.model.journal import Step
from orchestrator.model.plan import Goal
from orchestrator.stages.activate.boot import make_boot_default
from orchestrator.stages.activate.confirm import confirm, disarm
from orchestrator.stages.activate.dry_activate import dry_activate
from orchestrator.stages.activate.rollback import reactivate, verdict, with_damage
from orchestrator.stages.activate.switch import await_switch, switch
from orchestrator.stages.facts.facts import gather_facts
from orchestrator.stages.smoke.smoke import SmokeTest
from orchestrator.state.host_locks import HostLocks
from orchestrator.transport.retry import until
from orchestrator.transport.session import Session, session
from orchestrator.transport.shell import LOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.command import Command, CommandResult
    from orchestrator.deploy.perform.context import Context
    from orchestrator.model.facts import Facts
    from orchestrator.model.plan import HostPlan
    from orchestrator.model.report import (
        BootReport,
        DryActivationReport,
        RollbackReport,
        SwitchReport,
    )
    from orchestrator.model.store import StorePath
    from orchestrator.stages.activate.activation import Activation
    from orchestrator.stages.activate.rollback import Reactivation

T = TypeVar("T")

_AGAIN = "run the same command again"

_REBOOT_SECONDS = 600.0
"""Seconds that a host may need to shut down and come up again; a server's firmware is slow."""


def perform_switch(context: Context, host: HostPlan) -> SwitchReport:
    """Activate the new system with the automatic rollback armed, and see its end.

    Raises:
        UnreachableError: the host can't be reached, before or after.
        StageError: the activation failed, or the host isn't this run's.
    """
    host = _as_it_is_now(context, host)
    activation = activation_of(context.plan, host)
    # If the login fails nothing was begun, and there is nothing to wait for.
    context.runtime.run(context.runtime.pool.shell(host.target))
    with suppress(UnreachableError):
        return switch(_Pooled(context.runtime, host.target), activation)
    # It restarts sshd or the network, and goes on without us; unless the connection
    # was gone before.
    with _session_until(context, host.target) as opened, suppress(UnreachableError):
        return await_switch(opened, activation) or _switch_at_last(context, opened, activation)
    with _session_until(context, host.target) as opened:
        report = await_switch(opened, activation)
    if report is None:
        message = "the connection broke twice before anything was begun"
        raise UnreachableError(message, hint=_AGAIN, host=host.name, stage=Step.SWITCH)
    return report


def _switch_at_last(context: Context, opened: Session, activation: Activation) -> SwitchReport:
    """Begin what was not begun over a connection that broke, if the host is still ours.

    Raises:
        StageError: another run has it by now; or as `switch`.
    """
    if not HostLocks(context.journal).renew(activation.host):
        message = "another run has taken it while its connection was broken"
        raise StageError(message, hint=_AGAIN, host=activation.host, stage=Step.SWITCH)
    return switch(opened, activation)


@dataclass(frozen=True, slots=True)
class _Pooled:
    """A host over the connection that this process has already."""

    runtime: Runtime
    host: Host

    def run_as_root(self, command: Command) -> CommandResult:
        """Run as root, the way the inventory says."""

        async def work() -> CommandResult:
            shell = await self.runtime.pool.shell(self.host)
            done = await shell.run_as_root(command)
            # A shell that a signal has ended says nothing of what it waited for.
            return replace(done, returncode=LOST) if done.returncode < 0 else done

        return self.runtime.run(work())


def _as_it_is_now(context: Context, host: HostPlan) -> HostPlan:
    """Go on from what another run left on the host since the plan was made."""
    lock = HostLocks(context.journal).mine(host.target)
    left = lock.previous_left if lock is not None else ""
    if left in ("", host.previous):
        return host

    async def look() -> Facts:
        return await gather_facts(await context.runtime.pool.shell(host.target), as_target=True)

    now = context.runtime.run(look())
    # Whatever else runs there is for the switch itself to refuse.
    back = now.goes_back_to or (now.running_system if now.running_system == left else None)
    if back is None:
        return host
    context.journal.set_previous(host.name, back)
    return host.with_previous(back)


def perform_confirm(context: Context, host: HostPlan) -> SwitchReport:
    """Confirm what runs, over a new connection: that it opens is part of the proof.

    Raises:
        StageError: it can't be confirmed.
    """
    stay = disarm if context.plan.goal is Goal.TEST else confirm
    return _in_session(context, host, stay)


def perform_boot(context: Context, host: HostPlan) -> BootReport:
    """Make the new system the boot default, and activate nothing.

    Raises:
        StageError: it can't be made so.
    """
    return _in_session(context, host, make_boot_default)


def perform_dry_activate(_context: Context, host: HostPlan) -> DryActivationReport:
    """Ask what an activation would do.

    Raises:
        StageError: it doesn't say.
    """
    with session(host.target) as opened:
        return dry_activate(opened, host.evaluation.toplevel)


def _in_session(context: Context, host: HostPlan, change: Callable[[Session, Activation], T]) -> T:
    """Change a host over a new connection, and another one if that broke."""
    activation = activation_of(context.plan, host)
    with session(host.target) as opened, suppress(UnreachableError):
        return change(opened, activation)
    with _session_until(context, host.target) as opened:
        return change(opened, activation)


def perform_rollback(context: Context, host: HostPlan) -> RollbackReport:
    """Go back, and prove it with the old system's own llama-cli if it has one.

    What has failed on the new system goes to no other host, unless the old one fails
    there too, or the new one isn't there as it was built: then it is the host's.
    """
    report = _go_back(context, host)
    if report.smoke is not None and not report.smoke.passed:
        return report
    return with_damage(report, quarantine(context, host))


def _go_back(context: Context, host: HostPlan) -> RollbackReport:
    previous = host.previous
    if previous is None:
        return verdict(host.name, previous, None, None)
    go_back = boot_back if host.inhibited_by else _reactivate
    try:
        reactivated = go_back(context, host, previous)
    except CommandError as error:
        return verdict(host.name, previous, error, None)
    smoked = None
    if host.facts.llama_cli and not reactivated.untouched:
        smoked = smoke_test(context, host, SmokeTest(host.target.smoke), Guard.NONE)
    return verdict(host.name, previous, reactivated, smoked)


def _reactivate(context: Context, host: HostPlan, previous: StorePath) -> Reactivation:
    activation = activation_of(context.plan, host)
    with _session_until(context, host.target) as opened, suppress(UnreachableError):
        return reactivate(opened, activation, previous)
    with _session_until(context, host.target) as opened:
        return reactivate(opened, activation, previous)


@contextmanager
def _session_until(context: Context, host: Host) -> Iterator[Session]:
    """Log in again and again until the automatic rollback of the host must be over.

    A host whose network died with the new system answers once its timer has
    brought the old one back.

    Raises:
        UnreachableError: it doesn't answer even then.
    """
    longest = context.plan.confirm_timeout + context.plan.way_back_timeout
    if host.reboot_as_last_resort:
        longest += _REBOOT_SECONDS
    deadline = time.monotonic() + longest
    with ExitStack() as stack:
        yield until(deadline, lambda: stack.enter_context(session(host)), UnreachableError)
