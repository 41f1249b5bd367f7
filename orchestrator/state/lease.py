"""Give a sign of life from a thread while something long is done."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = structlog.get_logger()

_BEATS_A_LEASE = 4
"""A sign that is lost, or two, end no lease."""


@contextmanager
def beating(beat: Callable[[], None], name: str, lease_seconds: float) -> Iterator[None]:
    """Call `beat` now and again, often enough for a lease, for the time of the context.

    Args:
        beat: gives the sign; where the server is away, the next one may find it back.
        name: the thread's.
        lease_seconds: how long a sign counts.
    """
    ended = threading.Event()

    def signs() -> None:
        while True:
            try:
                beat()
            except redis.RedisError as error:
                log.warning("no sign of life was given", of=name, error=str(error))
            if ended.wait(lease_seconds / _BEATS_A_LEASE):
                return

    thread = threading.Thread(target=signs, daemon=True, name=name)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
