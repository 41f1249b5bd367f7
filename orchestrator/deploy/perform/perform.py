"""Perform one journaled step: find what the stage needs, call it, report.

The stages know nothing of runs or journals; this is the only place that joins
the two.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from inventory.host import FailedUnits, Host
from orchestrator.deploy.perform.build import perform_build
from orchestrator.deploy.perform.context import Context
from orchestrator.deploy.perform.copy import perform_copy
from orchestrator.deploy.perform.reboot import Checks, perform_reboot
from orchestrator.deploy.perform.runtime import Runtime, process_runtime
from orchestrator.errors import CommandError, PayloadError, StageError, UnreachableError
from orchestrator.model.event import Quarantined
from orchestrator.model.guard import Guard
from orchestrator.model.journal import Step, StepKey
from orchestrator.model.plan import Goal
from orchestrator.model.store import DerivationPath
from orchestrator.stages.activate.activation import Activation
from orchestrator.stages.activate.boot import make_boot_default
from orchestrator.stages.activate.confirm import confirm, disarm
from orchestrator.stages.activate.dry_activate import dry_activate
from orchestrator.stages.activate.rollback import reactivate, verdict
from orchestrator.stages.activate.switch import await_switch, switch
from orchestrator.stages.facts.facts import gather_facts
from orchestrator.stages.smoke.health_check import check_health
from orchestrator.stages.smoke.model import model_path, read_model
from orchestrator.stages.smoke.smoke import SmokeTest, run_smoke
from orchestrator.state.host_locks import HostLocks
from orchestrator.state.quarantine import Quarantine
from orchestrator.transport.session import Session, session
from orchestrator.transport.shell import LOST

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from orchestrator.command import Command, CommandResult
    from orchestrator.model.facts import Facts
    from orchestrator.model.plan import HostPlan, Plan
    from orchestrator.model.report import (
        BootReport,
        DryActivationReport,
        HealthReport,
        RebootReport,
        Report,
        RollbackReport,
        SmokeReport,
        SwitchReport,
    )
    from orchestrator.model.store import StorePath
    from orchestrator.stages.activate.rollback import Reactivation
    from orchestrator.state.journal import Journal
    from orchestrator.transport.shell import SshShell

T = TypeVar("T")

_RETRY_INTERVAL = 1.0
"""Seconds between two attempts to log in to a host that must come back."""

_AGAIN = "run the same command again"

_REBOOT_SECONDS = 600.0
"""Seconds that a host may need to shut down and come up again; a server's firmware is slow."""


def perform(journal: Journal, plan: Plan, key: StepKey) -> Report:
    """Do one step and give its report.

    Raises:
        OrchestrateError: the step failed; it names host, stage and what to do.
    """
    context = Context(journal, plan, process_runtime())
    if key.step is Step.BUILD:
        return perform_build(context, plan.build(DerivationPath(key.subject)))
    host = plan.host(key.subject)
    steps: dict[Step, Callable[[Context, HostPlan], Report]] = {
        Step.COPY: perform_copy,
        Step.SWITCH: _switch,
        Step.SMOKE: _smoke,
        Step.HEALTH: _health,
        Step.CONFIRM: _confirm,
        Step.REBOOT: _reboot,
        Step.BOOT: _boot,
        Step.DRY_ACTIVATE: _dry_activate,
        Step.ROLLBACK: _rollback,
    }
    return steps[key.step](context, host)


def _switch(context: Context, host: HostPlan) -> SwitchReport:
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

    running = context.runtime.run(look()).running_system
    # Whatever else runs there is for the switch itself to refuse.
    if running is None or running != left:
        return host
    context.journal.set_previous(host.name, running)
    return host.with_previous(running)


def activation_of(plan: Plan, host: HostPlan) -> Activation:
    """Say what the run activates on a host."""
    return Activation(
        host=host.name,
        toplevel=host.evaluation.toplevel,
        previous=host.previous,
        boot_default=host.facts.boot_default,
        run=plan.run,
        confirm_timeout=plan.confirm_timeout,
        way_back_timeout=plan.way_back_timeout,
        boot_id=host.facts.boot_id,
        reboot_as_last_resort=host.target.reboot_as_last_resort,
        accept_failed_units=host.target.failed_units is FailedUnits.ACCEPT,
        by_nixos_rebuild=host.facts.nixos_rebuild_store_path,
    )


def _smoke(context: Context, host: HostPlan) -> SmokeReport:
    """Run the smoke test of what was switched to, and note what it says of the package."""
    report = _smoke_new(context, host, _guard(host))
    quarantine = Quarantine(context.journal.client)
    for path in quarantine.judge(report, host.evaluation, context.plan.run):
        context.emit(host.name, Step.SMOKE, Quarantined(path))
    return report


def _guard(host: HostPlan) -> Guard:
    """Say what a host does by itself between its switch and its confirmation."""
    return Guard.until_confirmed(has_previous=host.previous is not None)


def _smoke_new(context: Context, host: HostPlan, guard: Guard) -> SmokeReport:
    """Run the smoke test of the run's system; an earlier generation may be of another variant."""
    package = host.evaluation.llama
    backend = host.choice.variant.backend if package is not None else None
    return _run_smoke(context, host, SmokeTest(host.target.smoke, backend, package), guard)


def _run_smoke(context: Context, host: HostPlan, test: SmokeTest, guard: Guard) -> SmokeReport:
    model = read_model(model_path(test.smoke))
    return _on_host(context, host.target, lambda shell: run_smoke(shell, model, test, guard))


def _health(context: Context, host: HostPlan) -> HealthReport:
    return _check_health(context, host, _guard(host))


def _check_health(context: Context, host: HostPlan, guard: Guard) -> HealthReport:
    health = host.target.health
    if health is None:
        message = "the plan has no health check for it"
        raise PayloadError(message, host=host.name, stage=Step.HEALTH)
    return _on_host(context, host.target, lambda shell: check_health(shell, health, guard))


def _on_host(
    context: Context, host: Host, once: Callable[[SshShell], Coroutine[None, None, T]]
) -> T:
    """Do something on a host, again on a new connection if the switch cut the old one."""
    pool = context.runtime.pool

    async def work() -> T:
        try:
            return await once(await pool.shell(host))
        except UnreachableError:
            await pool.drop(host)
            return await once(await pool.shell(host))

    return context.runtime.run(work())


def _confirm(context: Context, host: HostPlan) -> SwitchReport:
    stay = disarm if context.plan.goal is Goal.TEST else confirm
    return _in_session(context, host, stay)


def _reboot(context: Context, host: HostPlan) -> RebootReport:
    checks = Checks(
        # It is confirmed: nothing leads back from here.
        smoke=lambda: _smoke_new(context, host, Guard.NONE),
        health=(lambda: _check_health(context, host, Guard.NONE)) if host.target.health else None,
    )
    return perform_reboot(context, host, checks)


def _boot(context: Context, host: HostPlan) -> BootReport:
    return _in_session(context, host, make_boot_default)


def _dry_activate(_context: Context, host: HostPlan) -> DryActivationReport:
    with session(host.target) as opened:
        return dry_activate(opened, host.evaluation.toplevel)


def _in_session(context: Context, host: HostPlan, change: Callable[[Session, Activation], T]) -> T:
    """Change a host over a new connection, and another one if that broke."""
    activation = activation_of(context.plan, host)
    with session(host.target) as opened, suppress(UnreachableError):
        return change(opened, activation)
    with _session_until(context, host.target) as opened:
        return change(opened, activation)


def _rollback(context: Context, host: HostPlan) -> RollbackReport:
    """Go back, and prove it with the old system's own llama-cli if it has one."""
    previous = host.previous
    if previous is None:
        return verdict(host.name, previous, None, None)
    try:
        reactivated = _reactivate(context, host, previous)
    except CommandError as error:
        return verdict(host.name, previous, error, None)
    smoked = None
    if host.facts.llama_cli and not reactivated.untouched:
        smoked = _run_smoke(context, host, SmokeTest(host.target.smoke), Guard.NONE)
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
        yield _logged_in(stack, host, deadline)


def _logged_in(stack: ExitStack, host: Host, deadline: float) -> Session:
    while True:
        try:
            return stack.enter_context(session(host))
        except UnreachableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_INTERVAL)
