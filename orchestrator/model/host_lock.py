"""Which run changes a host now: one at a time, across runs and controllers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostLock:
    """A host's lock as it is in Redis, times in seconds of the server's clock.

    Args:
        run: the run that took it last.
        author: who began that run, user@controller.
        since: when it was taken.
        token: grows with each run that takes it; an older one may do nothing.
        ends_at: when it ends unless it is renewed; 0 if it was released.
        left: the system that its run left on the host; empty while it holds it,
            and if that isn't known.
        previous_run: the run that had it before; empty for the first.
        previous_left: what that one left.
    """

    run: str
    author: str
    since: float
    token: int
    ends_at: float
    left: str = ""
    previous_run: str = ""
    previous_left: str = ""


@dataclass(frozen=True, slots=True)
class Acquired:
    """An answer to who wants a lock.

    Args:
        lock: who has it now: the one who asked, or another run.
        overtaken: whether the one who asked had it before, and another run since.
    """

    lock: HostLock
    overtaken: bool = False
