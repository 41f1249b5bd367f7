"""Perform the smoke test and the health check: whether a host's system does its work."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from orchestrator.errors import PayloadError, StageError
from orchestrator.model.event import Quarantined
from orchestrator.model.guard import Guard
from orchestrator.model.journal import Step, StepKey, StepState
from orchestrator.model.quarantine import blamed
from orchestrator.model.report import SmokeReport
from orchestrator.stages.smoke.damage import damaged_paths
from orchestrator.stages.smoke.health_check import check_health
from orchestrator.stages.smoke.model import model_path, read_model
from orchestrator.stages.smoke.smoke import SmokeTest, run_smoke
from orchestrator.state.quarantine import Quarantine
from orchestrator.transport.retry import reconnecting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from inventory.host import Host
    from orchestrator.deploy.perform.context import Context
    from orchestrator.model.plan import HostPlan
    from orchestrator.model.report import HealthReport
    from orchestrator.transport.shell import SshShell

T = TypeVar("T")


def perform_smoke(context: Context, host: HostPlan) -> SmokeReport:
    """Run the smoke test of what was switched to, and let go of what passed it."""
    report = smoke_new_system(context, host, _guard(host))
    if report.passed:
        Quarantine(context.journal.client).release(host.evaluation)
    return report


def quarantine(context: Context, host: HostPlan) -> tuple[str, ...]:
    """Put in quarantine what the run's smoke test of a host speaks against, if anything.

    Returns:
        the paths of its package that the host's disk has not as they were built: then
        nothing is put there.
    """
    key = StepKey(Step.SMOKE, host.name)
    record = context.journal.records().get(key)
    if record is None or record.state is not StepState.DONE:
        return ()
    report = record.report_as(SmokeReport, key)
    if blamed(report, host.evaluation) and (damaged := _damaged(context, host)):
        return damaged
    kept = Quarantine(context.journal.client)
    for path in kept.put(report, host.evaluation, context.plan.run):
        context.emit(host.name, Step.SMOKE, Quarantined(path))
    return ()


def _damaged(context: Context, host: HostPlan) -> tuple[str, ...]:
    """Look for damage of the new package; a host that can't be asked has none."""
    package = host.evaluation.llama
    if package is not None:
        with suppress(StageError):
            return _on_host(context, host.target, lambda shell: damaged_paths(shell, package))
    return ()


def _guard(host: HostPlan) -> Guard:
    """Return what a host does by itself between its switch and its confirmation."""
    return Guard.until_confirmed(has_previous=host.previous is not None)


def smoke_new_system(context: Context, host: HostPlan, guard: Guard) -> SmokeReport:
    """Run the smoke test of the run's system; an earlier generation may be of another variant."""
    package = host.evaluation.llama
    backend = host.choice.variant.backend if package is not None else None
    test = SmokeTest(host.target.smoke, backend, package, host.tools)
    return smoke_test(context, host, test, guard)


def smoke_test(context: Context, host: HostPlan, test: SmokeTest, guard: Guard) -> SmokeReport:
    """Run a smoke test with the model that the inventory names, which is on the host.

    Raises:
        UnreachableError: the connection broke twice.
        UsageError: the model can't be read here.
    """
    model = read_model(model_path(test.smoke))
    return _on_host(context, host.target, lambda shell: run_smoke(shell, model, test, guard))


def perform_health_check(context: Context, host: HostPlan) -> HealthReport:
    """Run the user's own check of what was switched to.

    Raises:
        StageError: it failed, or the connection broke twice.
    """
    return health_of(context, host, _guard(host))


def health_of(context: Context, host: HostPlan, guard: Guard) -> HealthReport:
    """Run the user's own check; `guard` is what the host does by itself at this moment.

    Raises:
        PayloadError: the plan has none for it.
        StageError: it failed, or the connection broke twice.
    """
    health = host.target.health
    if health is None:
        message = "the plan has no health check for it"
        raise PayloadError(message, host=host.name, stage=Step.HEALTH)
    return _on_host(
        context, host.target, lambda shell: check_health(shell, health, guard, host.tools)
    )


def _on_host(context: Context, host: Host, attempt: Callable[[SshShell], Awaitable[T]]) -> T:
    """Do something on a host, again over a new connection if the switch cut the old one."""
    pool = context.runtime.pool
    return context.runtime.run(reconnecting(pool, host, attempt, times=1, logins_too=True))
