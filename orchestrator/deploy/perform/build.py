"""Perform a build: once among all runs, on the next builder if one is lost.

What is lost with a builder is noticed within seconds, and says nothing of the
derivation. A build that truly fails is remembered and tried nowhere else.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.errors import BuilderError, CommandError, StageError, UnreachableError
from orchestrator.model.event import BuilderLost, LogLine
from orchestrator.model.journal import Step
from orchestrator.stages.build.build import BuildLog, build, stop_build
from orchestrator.state.build_ledger import BuildLedger
from orchestrator.transport.retry import reconnecting

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from orchestrator.deploy.perform.context import Context
    from orchestrator.model.ledger import Ledger
    from orchestrator.model.plan import Build
    from orchestrator.model.report import BuildReport
    from orchestrator.transport.shell import Shell, SshShell

_RECONNECTIONS = 3
"""How often a build whose connection broke is gone back to before its builder is lost."""

_CANCEL_SECONDS = 1.0
"""How often a followed build looks whether its run was cancelled."""

_MOST_LINES = 5000
"""Lines of a build's log that the run's record takes one by one; the rest is counted."""


def perform_build(context: Context, wanted: Build) -> BuildReport:
    """Build on the planned builder, or on the next that fits if that one is lost.

    Raises:
        UnreachableError, BuilderError: no builder is left that could do it.
        StageError: the build itself failed, now or when it was tried before.
    """
    ledger = BuildLedger(context.journal.client)
    known = ledger.read()
    anyway = context.plan.retry_failed or wanted.is_available
    if wanted.derivation in known.failed and not anyway:
        raise _failed_before(wanted, known.failed[wanted.derivation])
    made = context.build_report(wanted.depends_on) if wanted.depends_on else None
    left = candidates(wanted, known, made.builder if made else None)
    lost = ""
    failure: StageError | None = None
    while left:
        name = ledger.take(wanted.derivation, left[0], instead_of=lost)
        # Another controller may know it by a builder that this plan doesn't.
        name = name if name in left else left[0]
        left = [other for other in left if other != name]
        try:
            return _build_on(context, ledger, wanted, name)
        except (UnreachableError, BuilderError) as error:
            failure, lost = error, name
            ledger.let_down(name, error.message)
            moves_to = left[0] if left else ""
            gone = BuilderLost(error.failure, moves_to, derivation=wanted.derivation)
            context.emit(name, Step.BUILD, gone)
    ledger.stopped(wanted.derivation)
    raise failure or StageError(message="no builder is left", stage=Step.BUILD)


def candidates(wanted: Build, ledger: Ledger, made_on: str | None) -> list[str]:
    """Return the builders to try, the best first. Pure.

    The one that runs the build already comes first, then the one that has what
    it is built after; one that has just let a build down comes last.

    Args:
        wanted: the build, with the builders that fit.
        ledger: what is known of builds and builders.
        made_on: the builder that made `wanted.depends_on`; None if no build was needed.
    """
    running = {build.builder for build in ledger.running if build.derivation == wanted.derivation}
    fitting = dict.fromkeys((wanted.builder, *wanted.fallbacks))
    return sorted(
        fitting,
        key=lambda name: (name in ledger.broken, name not in running, name != made_on),
    )


def _build_on(context: Context, ledger: BuildLedger, wanted: Build, name: str) -> BuildReport:
    with ledger.following(wanted.derivation, context.plan.run):
        try:
            report = _follow(context, wanted, name)
        except CommandError as error:
            ledger.failed(wanted.derivation, _remembered(error))
            raise
    seconds = None if report.was_valid else report.seconds
    ledger.succeeded(wanted.derivation, name, seconds)
    return report


def _follow(context: Context, wanted: Build, name: str) -> BuildReport:
    """Follow the build, over a new connection if one breaks under it.

    Raises:
        UnreachableError: the builder doesn't answer any more.
        StageError: as `build`.
    """
    builder = context.builder(name)
    output = _Bounded(
        lambda line: context.emit(name, Step.BUILD, LogLine(line, derivation=wanted.derivation))
    )
    log = BuildLog(output.add)

    async def attempt(shell: SshShell) -> BuildReport:
        following = build(shell, wanted, log, builder.caches)
        return await _unless_cancelled(context, wanted, shell, following)

    # If a login fails, the builder itself is gone.
    work = reconnecting(
        context.runtime.pool, builder, attempt, times=_RECONNECTIONS, logins_too=False
    )
    try:
        return context.runtime.run(work)
    finally:
        output.end(log.recent)


async def _unless_cancelled(
    context: Context, wanted: Build, shell: Shell, following: Coroutine[None, None, BuildReport]
) -> BuildReport:
    """Follow a build until its run is cancelled; then end it, if no other run wants it.

    Raises:
        StageError: the run was cancelled.
    """
    task = asyncio.ensure_future(following)
    try:
        while not await asyncio.to_thread(context.journal.is_cancelled):
            done, _ = await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
            if done:
                return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    ledger = BuildLedger(context.journal.client)
    if not await asyncio.to_thread(ledger.wanted_by_others, wanted.derivation, context.plan.run):
        await stop_build(shell, wanted.derivation)
        await asyncio.to_thread(ledger.stopped, wanted.derivation)
    raise StageError(message="the run was cancelled", host=shell.host, stage=Step.BUILD)


class _Bounded:
    """Passes on the first lines of a log; of the rest their number, and the last ones."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._count = 0

    def add(self, line: str) -> None:
        self._count += 1
        if self._count <= _MOST_LINES:
            self._on_line(line)

    def end(self, last: Iterable[str]) -> None:
        if self._count > _MOST_LINES:
            self._on_line(f"({self._count - _MOST_LINES} lines left out; the last of them follow)")
            for line in last:
                self._on_line(line)


def _failed_before(wanted: Build, what: str) -> StageError:
    return StageError(
        message=f"not rebuilt: this derivation failed before: {what}",
        hint="change what failed, or retry it unchanged with --retry-failed",
        host=wanted.builder,
        stage=Step.BUILD,
    )


def _remembered(error: CommandError) -> str:
    """Return what a later plan says of a build that failed: Nix's last words."""
    last_line = error.last_lines[-1] if error.last_lines else ""
    return f"{error.message}: {last_line}" if last_line else error.message
