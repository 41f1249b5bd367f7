"""Steps whose worker is gone: which of them are sent again, and when."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from orchestrator.model.journal import StepKey, StepState
from orchestrator.state.workers import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.deploy.rollout.run import Run
    from orchestrator.state.journal import Journal

T = TypeVar("T")

ATTEMPTS = 3
"""How often a step may take its worker with it; memory is the usual cause."""

_LOOK_SECONDS = 0.5
"""Seconds between two looks: that asks the server about every step that runs."""


@dataclass(slots=True)
class Absences(Generic[T]):
    """Since when each thing that is missing has been; seconds of the monotonic clock.

    Leases run on while the server is down. A worker that lived through that
    gives its next sign within `grace`, and must not be doubled before.
    """

    grace: float
    since: dict[T, float] = field(default_factory=dict)

    def lasting(self, missing: Iterable[T]) -> tuple[T, ...]:
        """Return those of the missing that were missing a while ago already."""
        now = time.monotonic()
        self.since = {key: self.since.get(key, now) for key in missing}
        return tuple(key for key, first in self.since.items() if now - first >= self.grace)


class LostSteps:
    """The lost steps of one run, for its driver."""

    def __init__(self, journal: Journal) -> None:
        """Begin with nothing known to be lost."""
        self.journal = journal
        self._absences = Absences[StepKey](journal.lease_seconds / 2)
        # As if all had ended: they may have, with an earlier driver.
        self._workers_ended = True
        self._workers = frozenset[str]()
        self._looked_at = -_LOOK_SECONDS

    def due(self, run: Run) -> tuple[StepKey, ...]:
        """Return the lost steps that may be sent again now; most calls look at nothing."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return ()
        self._looked_at = now
        lost = self._absences.lasting(self.journal.lost(run.records))
        if self._some_have_ended():
            # Ended, a worker still has what it took and did not begin. If that waits
            # in a queue after all, the token of its message is old.
            unbegun = [key for key, record in run.records.items() if record.state is StepState.SENT]
            lost = tuple(dict.fromkeys((*lost, *unbegun)))
        return self._one_suspect_at_a_time(run, lost) if lost else ()

    def _some_have_ended(self) -> bool:
        """Whether workers have ended since this was asked last."""
        there = frozenset(worker.name for worker in Cluster(self.journal.client).workers())
        gone = bool(self._workers - there)
        ended = self._workers_ended or gone
        # Once more next time: one that leaves may take a last message just then.
        self._workers_ended, self._workers = gone, there
        return ended

    def _one_suspect_at_a_time(self, run: Run, lost: tuple[StepKey, ...]) -> tuple[StepKey, ...]:
        """Hold back all but one of those that have one attempt left.

        The steps of one worker die together, whichever of them it was. One after
        another they show it, so that only what did it is given up.
        """
        begun = {
            key: self.journal.attempts(key)
            for key, record in run.records.items()
            if not record.state.is_final
        }
        suspects = [key for key, attempts in begun.items() if attempts >= ATTEMPTS - 1]
        tried = [key for key in suspects if key not in lost]
        waiting = [key for key in suspects if key in lost and begun[key] < ATTEMPTS]
        # One that was sent and not begun is the one whose turn it is.
        waiting.sort(key=lambda key: run.records[key].state is not StepState.SENT)
        held_back = waiting if tried else waiting[1:]
        return tuple(key for key in lost if key not in held_back)
