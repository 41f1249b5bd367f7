"""Hold the host locks of a driver's run.

If another run has a host's lock, the host waits for it as long as that run lives. A
host that another run has changed since ours began with it is left as it is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from orchestrator.errors import Failure
from orchestrator.model.event import StageFailed, WaitsForLock, event_now
from orchestrator.model.journal import Step, StepKey
from orchestrator.model.report import RollbackReport, Verdict
from orchestrator.model.store import StorePath
from orchestrator.state.host_locks import HostLocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.deploy.rollout.run import Run
    from orchestrator.model.host_lock import HostLock
    from orchestrator.model.journal import StepRecord
    from orchestrator.model.report import HostResult


@dataclass(slots=True)
class RunLocks:
    """The host locks that this driver holds, and the hosts whose wait it has reported."""

    locks: HostLocks
    held: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)
    renewed_at: float = field(default_factory=time.monotonic)

    def ours(self, run: Run, steps: Iterable[StepKey]) -> Iterator[StepKey]:
        """Yield those of `steps` that need no host lock, or whose host's lock is ours now.

        Raises:
            PayloadError: a lock was damaged.
        """
        return (key for key in steps if not key.step.needs_lock or self._take(run, key))

    def renew(self) -> None:
        """Renew what is held, if that is due."""
        now = time.monotonic()
        if now - self.renewed_at < self.locks.lock_seconds / 6:
            return
        self.renewed_at = now
        for host in self.held:
            self.locks.renew(host)

    def release(self, host: str, result: HostResult) -> None:
        """Release a host that has ended."""
        self.held.discard(host)
        self.locks.release(host, result.current or "")

    def _take(self, run: Run, key: StepKey) -> bool:
        host = run.host(key.subject).plan.target
        taken = self.locks.take(host, run.plan.origin.author)
        if taken.lock.run != run.plan.run:
            if host.name not in self.reported:
                self.reported.add(host.name)
                lock = taken.lock
                self._emit(host.name, WaitsForLock(lock.run, lock.author, lock.since))
            return False
        self.held.add(host.name)
        if taken.overtaken and self._has_begun(key):
            self._give_up(key, run.records.get(key), taken.lock)
            return False
        return True

    def _has_begun(self, key: StepKey) -> bool:
        """Whether the host may have been changed by us before it was lost to another run."""
        if key.step is Step.REBOOT:
            return True
        return not key.step.begins_something or self.locks.journal.attempts(key) > 0

    def _give_up(self, key: StepKey, record: StepRecord | None, lock: HostLock) -> None:
        """Fail the step we were at, and roll nothing back: that would undo what another run did."""
        failure = Failure(
            message=f"superseded by run {lock.previous_run}, which has changed it since",
            hint=f"see what that one did: orchestrate show {lock.previous_run}",
            host=key.subject,
            stage=key.step,
        )
        journal = self.locks.journal
        back = StepKey(Step.ROLLBACK, key.subject)
        left = StorePath(lock.previous_left) if lock.previous_left else None
        stays = f"it stays as run {lock.previous_run} left it"
        report = RollbackReport(key.subject, Verdict.UNTOUCHED, left, None, stays)
        # The rollback first: killed in between, this run still doesn't roll the host back.
        token = journal.send(back, record if key == back else None)
        if token is not None and journal.claim(back, token):
            journal.finish(back, token, msgspec.to_builtins(report))
        if key != back:
            token = journal.send(key, record)
            if token is not None and journal.claim(key, token):
                journal.fail(key, token, failure)
        self._emit(key.subject, StageFailed(failure))

    def _emit(self, host: str, body: WaitsForLock | StageFailed) -> None:
        journal = self.locks.journal
        journal.emit(event_now(journal.run, host, Step.SWITCH, body))
