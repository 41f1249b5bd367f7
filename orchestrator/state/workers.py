"""The workers of a broker, as they show themselves there, and what queues are missed.

A worker renews its entry; one that was killed is gone when that expires.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import redis
import structlog

from orchestrator.errors import PayloadError, UsageError
from orchestrator.model.cluster import QueueState, Worker
from orchestrator.model.journal import Step, StepKey
from orchestrator.model.queue import DEPLOY, QUEUES, build_queue
from orchestrator.model.store import DerivationPath
from orchestrator.state.codec import as_text
from orchestrator.state.journal import Journal, now
from orchestrator.state.runs import runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.model.journal import StepRecord
    from orchestrator.model.plan import Plan

SIGN_SECONDS = 10.0
"""How long a worker counts as there after its last sign."""

_FORGOTTEN_SECONDS = 24 * 3600.0
"""How long the name of a worker that gives no sign is kept."""

_WORKERS = "orchestrate:workers"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Cluster:
    """The registry of workers on a connected client that returns bytes."""

    client: redis.Redis
    sign_seconds: float = SIGN_SECONDS

    def show(self, worker: Worker) -> None:
        """Write a worker's entry, good for `sign_seconds`."""
        shown_at = time.time()
        expiry = int(self.sign_seconds * 1000)
        pipeline = self.client.pipeline(transaction=True)
        pipeline.set(_entry(worker.name), msgspec.json.encode(worker), px=expiry)
        pipeline.zadd(_WORKERS, {worker.name: shown_at})
        pipeline.zremrangebyscore(_WORKERS, 0, shown_at - _FORGOTTEN_SECONDS)
        pipeline.execute()

    def leave(self, name: str) -> None:
        """Take away the entry of a worker that ends."""
        pipeline = self.client.pipeline(transaction=True)
        pipeline.delete(_entry(name))
        pipeline.zrem(_WORKERS, name)
        pipeline.execute()

    def workers(self) -> tuple[Worker, ...]:
        """Return the workers that are there, by name; an entry that can't be read isn't."""
        names: Any = self.client.zrange(_WORKERS, 0, -1)
        found: Any = self.client.mget([_entry(as_text(name)) for name in names]) if names else []
        read = (_read(entry) for entry in found if entry is not None)
        return tuple(sorted((worker for worker in read if worker), key=lambda worker: worker.name))

    def served(self) -> frozenset[str]:
        """Return the queues that any worker serves."""
        return frozenset(queue for worker in self.workers() for queue in worker.queues)

    def queues(self, workers: Sequence[Worker]) -> tuple[QueueState, ...]:
        """Return every queue that `workers` serve, that messages wait in or an open run needs."""
        pipeline = self.client.pipeline(transaction=False)
        for queue in QUEUES:
            pipeline.llen(queue)
        waiting = dict(zip(QUEUES, pipeline.execute(), strict=True))
        needed = self._needed()
        states = (
            QueueState(
                queue,
                tuple(worker.name for worker in workers if queue in worker.queues),
                waiting[queue],
                tuple(run for run, queues in needed.items() if queue in queues),
            )
            for queue in QUEUES
        )
        return tuple(state for state in states if state.served_by or state.is_missed)

    def now(self) -> float:
        """Return the server's time, the one clock that all workers share."""
        return now(self.client)

    def _needed(self) -> dict[str, frozenset[str]]:
        """Return the queues that each open run needs; a damaged run needs none."""
        needed = {}
        for run in runs(self.client):
            journal = Journal(self.client, run)
            if journal.is_finished():
                continue
            try:
                needed[run] = needed_queues(journal.plan(), journal.records())
            except PayloadError as error:
                log.warning("run can't be read", run=run, error=str(error))
        return needed


def check_timeouts(mine: float, longest_step: float, others: Iterable[Worker]) -> None:
    """Check that a broker's messages are given out again after one time, and not in mid-step.

    Args:
        mine: the visibility timeout of this process, in seconds.
        longest_step: what a step may take, in seconds.
        others: the workers on the same broker: the shortest timeout holds for all.

    Raises:
        UsageError: `mine` is too short, or not that of another worker.
    """
    if mine <= longest_step:
        message = (
            f"a visibility timeout of {mine:.0f} s is too short: a step may take"
            f" {longest_step:.0f} s, and would be given out again"
        )
        raise UsageError(message, hint=f"make it longer than {longest_step:.0f} s")
    for other in others:
        if other.visibility_timeout != mine:
            theirs = f"{other.visibility_timeout:.0f} s in worker {other.name}"
            message = f"the visibility timeout is {mine:.0f} s here and {theirs}"
            message = f"{message}, and the shorter one would hold for both"
            hint = f"run one version everywhere (that worker's is {other.version}), or stop it"
            raise UsageError(message, hint=hint)


def needed_queues(plan: Plan, records: Mapping[StepKey, StepRecord]) -> frozenset[str]:
    """Return the queues of what a run has still to do. Pure."""
    builds = (StepKey(Step.BUILD, build.derivation) for build in plan.builds)
    left = (key for key in builds if key not in records or not records[key].state.is_final)
    queues = {queue_of(plan, key) for key in left}
    return frozenset(queues | {DEPLOY} if plan.goal.reaches_hosts else queues)


def queue_of(plan: Plan, key: StepKey) -> str:
    """Name the queue of a step: queues are capabilities.

    A build goes to a worker that serves `build.<system>`, with `.cuda` or `.rocm`
    behind it if the build needs that; every step on a target to `deploy`.

    Raises:
        PayloadError: the plan has no such build.
    """
    if key.step is not Step.BUILD:
        return DEPLOY
    try:
        build = plan.build(DerivationPath(key.subject))
    except KeyError as error:
        message = f"the journal of run {plan.run} has a build that its plan hasn't: {key.subject}"
        raise PayloadError(message, stage=Step.BUILD) from error
    system = plan.host(build.hosts[0]).facts.system
    return build_queue(system, build.features)


def _entry(name: str) -> str:
    return f"orchestrate:worker:{name}"


def _read(entry: bytes) -> Worker | None:
    try:
        return msgspec.json.decode(entry, type=Worker)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # It expires by itself, and no run should end because of it.
        log.warning("a worker's entry can't be read", error=str(error))
        return None
