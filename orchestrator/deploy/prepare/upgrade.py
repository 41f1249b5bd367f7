"""Upgrade: a deployment by a lock of its own, which stays only if every host ended well.

Versions are shown before anything is built. The size of a closure is known once
it is built: it is shown when the closure has arrived on the host, before the switch.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.deploy.prepare.prepare import prepare
from orchestrator.deploy.prepare.survey import SurveyContext
from orchestrator.errors import OrchestrateError
from orchestrator.model.event import LockSettled
from orchestrator.model.plan import Action, FlakeRef, Upgrade
from orchestrator.model.stage import Stage
from orchestrator.stages.evaluate.evaluate import lock_flake
from orchestrator.stages.flake.lock import (
    commit_lock,
    drop_lock,
    fork_flake,
    input_changes,
    read_lock,
)
from orchestrator.stages.plan.changes import change_of
from orchestrator.transport.shell import LocalShell, Shell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Host
    from orchestrator.deploy.prepare.survey import Evaluator
    from orchestrator.model.plan import Plan
    from orchestrator.transport.connect import ConnectionPool


@dataclass(slots=True)
class _Fork:
    """The flake that a run locks for itself, once it is known where that is."""

    context: SurveyContext
    shell: Shell | None = None
    flake: FlakeRef | None = None

    async def lock(self, shell: Shell, flake: FlakeRef) -> FlakeRef:
        """Lock a copy of the flake and emit what is new in it."""
        self.shell, self.flake = shell, flake
        inputs = self.context.update_inputs
        before = await read_lock(shell, flake)
        fork = await fork_flake(shell, flake, self.context.run)
        await lock_flake(shell, fork, ("user", *inputs))
        after = await read_lock(shell, fork)
        for change in input_changes(before, after, inputs):
            self.context.emit("", Stage.EVALUATE, change)
        return fork

    def upgrade(self) -> Upgrade | None:
        """Return what the end of the run needs to know; None if nothing was evaluated."""
        if self.flake is None or self.shell is None:
            return None
        local = isinstance(self.shell, LocalShell)
        evaluator = None if local else self.context.inventory.host(self.shell.host)
        return Upgrade(self.context.update_inputs, self.flake, evaluator)

    async def drop(self) -> None:
        """Forget the lock."""
        if self.flake is not None and self.shell is not None:
            await drop_lock(self.shell, self.flake, self.context.run)


async def prepare_upgrade(
    context: SurveyContext, hosts: Sequence[Host]
) -> tuple[Plan, Evaluator | None]:
    """Survey and plan by a new lock of the context's inputs, and emit what changes.

    Raises:
        OrchestrateError: no plan can be made; the lock is as it was.
    """
    fork = _Fork(context)
    try:
        plan, evaluator = await prepare(replace(context, lock_aside=fork.lock), hosts)
    except OrchestrateError:
        with suppress(OrchestrateError):
            await fork.drop()
        raise
    for host in plan.hosts:
        if host.action is Action.DEPLOY:
            context.emit(host.name, Stage.PLAN, change_of(host))
    return replace(plan, upgrade=fork.upgrade()), evaluator


async def settle_lock(
    pool: ConnectionPool, run: str, upgrade: Upgrade, *, good: bool
) -> LockSettled:
    """Keep the lock of a run that ended well, otherwise leave the old one; return which.

    Raises:
        OrchestrateError: the new one should stay and can't be put in its place.
    """
    if not good:
        # The old lock is in its place already, reachable or not.
        with suppress(OrchestrateError):
            await drop_lock(await _shell(pool, upgrade), upgrade.flake, run)
        return LockSettled(upgrade.inputs, upgraded=False)
    try:
        await commit_lock(await _shell(pool, upgrade), upgrade.flake, run)
    except OrchestrateError as error:
        error.hint = f"every host ended well; keep its lock with `orchestrate resume {run}`"
        raise
    return LockSettled(upgrade.inputs, upgraded=True)


async def _shell(pool: ConnectionPool, upgrade: Upgrade) -> Shell:
    if upgrade.evaluator is None:
        return LocalShell()
    return await pool.shell(upgrade.evaluator)
