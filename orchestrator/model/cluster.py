"""Who works for a broker: its workers, what they do, and what its queues wait for."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_STEP_SECONDS = 12 * 3600.0
"""What a step may take: a CUDA build on a small builder."""

VISIBILITY_TIMEOUT_SECONDS = 24 * 3600.0
"""Until a message that isn't acknowledged is given out again: longer than any step.

The fencing token makes a second delivery harmless; this makes it rare.
"""


@dataclass(frozen=True, slots=True)
class Work:
    """A step that a worker is busy with.

    `subject` is a host's name, or a derivation path for a build. `since` is in
    seconds since the epoch, by the server's clock.
    """

    run: str
    step: str
    subject: str
    since: float


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process as it shows itself.

    `name` is `host:pid`; `version` that of this program. `concurrency` is how
    many steps it does at a time. `visibility_timeout` is in seconds, `started_at`
    in seconds since the epoch, by the server's clock.
    """

    name: str
    version: str
    queues: tuple[str, ...]
    concurrency: int
    visibility_timeout: float
    started_at: float
    busy: tuple[Work, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue: who serves it, how many messages wait in it, which open runs need it."""

    queue: str
    served_by: tuple[str, ...]
    waiting: int
    needed_by: tuple[str, ...]

    @property
    def is_missed(self) -> bool:
        """Whether somebody waits for it and nobody serves it."""
        return not self.served_by and bool(self.waiting or self.needed_by)
