"""Perform a copy: the smoke test's model, then the system from a source that has it.

The builder gives what it has built. With `--fanout peers`, a host that has the
same llama.cpp already gives what both share, and the builder the rest.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.errors import StageError
from orchestrator.model.event import ClosureSize, Progress
from orchestrator.model.journal import Step, StepKey, StepState
from orchestrator.model.plan import Fanout
from orchestrator.model.report import CopyReport
from orchestrator.scripts import read
from orchestrator.stages.activate.reboot import reboot_for
from orchestrator.stages.copy_closure.copy_closure import CopyRequest, copy_closure
from orchestrator.stages.plan.changes import closure_sizes, read_sizes
from orchestrator.stages.privilege import require_root
from orchestrator.stages.smoke.model import deliver_model, model_path, read_model
from orchestrator.stages.store_contents import require_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping

    from inventory.host import Host
    from orchestrator.deploy.perform.context import Context
    from orchestrator.model.plan import HostPlan
    from orchestrator.model.report import BuildReport
    from orchestrator.stages.copy_closure.copy_closure import Connect
    from orchestrator.transport.shell import SshShell

_PROGRESS_INTERVAL = 0.5
"""Seconds between two reports of how much was copied."""

_BUILDERS_SHARE = 2
"""How many hosts a builder serves at a time if those that are done serve others."""


def perform_copy(context: Context, host: HostPlan) -> CopyReport:
    """Bring a host its model and its system, once it is known that its login becomes root.

    Raises:
        StageError: the system was not built, or was garbage-collected since.
        OrchestrateError: the copy failed.
    """
    derivation = host.awaited
    made = context.build_report(derivation) if derivation is not None else None
    if derivation is not None and made is None:
        message = "its system was not built"
        hint = "run the same command again"
        raise StageError(message, hint=hint, host=host.name, stage=Step.COPY)
    model = read_model(model_path(host.target.smoke))
    on_bytes = _bytes_reporter(context, host.name)

    async def work() -> CopyReport:
        shell = await context.runtime.pool.shell(host.target)
        if host.target.become.needed:
            await require_root(shell, Step.COPY)
        if context.plan.goal.activates:
            await deliver_model(shell, model, on_bytes)
        if made is None:
            await require_system(shell, host.evaluation.toplevel)
            report = CopyReport(host.name, 0, 0, "it is there already")
        else:
            report = await _copy(context, host, made, on_bytes)
        parts = await reboot_for(shell, host.evaluation.toplevel)
        report = replace(report, reboot_for=parts)
        if context.plan.upgrade is not None:
            await _emit_sizes(context, host, shell)
        return report

    return context.runtime.run(work())


async def _emit_sizes(context: Context, host: HostPlan, shell: SshShell) -> None:
    """Emit what the new closure takes beside the old one; without it the copy goes on."""
    old = (host.previous,) if host.previous else ()
    asked = await shell.run(closure_sizes(*old, host.evaluation.toplevel))
    sizes = read_sizes(read(asked)) if asked.returncode == 0 else ()
    if len(sizes) == len(old) + 1:
        before = sizes[0] if old else 0
        context.emit(host.name, Step.COPY, ClosureSize(before, sizes[-1]))


async def _copy(
    context: Context, host: HostPlan, made: BuildReport, on_bytes: Callable[[int], None]
) -> CopyReport:
    builder = context.builder(made.builder)
    slots = context.runtime.copy_slots(context.plan.terms.limits)
    request = CopyRequest(
        host=host.target,
        roots=(host.evaluation.toplevel,),
        signing_key=builder.builder.signing_key if builder.builder else None,
        checked=context.plan.terms.check_signatures,
        pace=slots.pace,
        on_bytes=on_bytes,
    )

    def sources() -> Mapping[str, int]:
        if context.plan.terms.fanout is Fanout.BUILDER:
            return {builder.name: slots.at_once}
        peers = peers_of(context, host, slots.arrived)
        return dict.fromkeys(peers, 1) | {builder.name: _BUILDERS_SHARE}

    @asynccontextmanager
    async def slot() -> AsyncIterator[tuple[Connect, ...]]:
        async with slots.slot(sources) as chosen:
            if chosen == builder.name:
                yield ()
            else:
                yield (_connect(context, context.plan.host(chosen).target, host.target),)
            slots.arrived.add((context.plan.run, host.name))

    connect = _connect(context, builder, host.target)
    return await copy_closure(connect, request, context.runtime.closure_sources, slot)


def peers_of(
    context: Context, host: HostPlan, arrived: Collection[tuple[str, str]]
) -> tuple[str, ...]:
    """Name the hosts that have the same llama.cpp by now, in the plan's request."""
    records = context.journal.records()

    def has_it(name: str) -> bool:
        record = records.get(StepKey(Step.COPY, name))
        done = record is not None and record.state is StepState.DONE
        return done or (context.plan.run, name) in arrived

    return tuple(
        other.name
        for other in context.plan.hosts
        if other.package == host.package and other.name != host.name and has_it(other.name)
    )


def _connect(context: Context, source: Host, target: Host) -> Connect:
    pool = context.runtime.pool

    async def connect(*, compressed: bool) -> tuple[SshShell, SshShell]:
        return (
            await pool.shell(source, compressed=compressed),
            await pool.shell(target, compressed=compressed),
        )

    return connect


def _bytes_reporter(context: Context, host: str) -> Callable[[int], None]:
    """Return what emits the progress of a copy, twice a second at most."""
    last = 0.0

    def on_bytes(count: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_INTERVAL:
            last = now
            context.emit(host, Step.COPY, Progress(count))

    return on_bytes
