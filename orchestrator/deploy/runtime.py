"""What a worker process keeps between tasks: one event loop, one connection a host.

Celery's threads call in from outside the loop. Sharing the connections is what
makes a stage cost a channel instead of a login.
"""

from __future__ import annotations

import asyncio
import threading
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from orchestrator.deploy.copy_slots import slots_of
from orchestrator.transport.connect import ConnectionPool

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from inventory.copying import CopyLimits
    from orchestrator.deploy.copy_slots import CopySlots

T = TypeVar("T")


class Runtime:
    """An event loop on a thread of its own, with a pool of connections on it."""

    def __init__(self) -> None:
        self.pool = ConnectionPool()
        self._slots: dict[CopyLimits, CopySlots] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="ssh")
        self._started = threading.Lock()

    def run(self, work: Coroutine[None, None, T]) -> T:
        """Run a coroutine on the loop and wait for it, from any other thread."""
        with self._started:
            if not self._thread.is_alive():
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def copy_slots(self, limits: CopyLimits) -> CopySlots:
        """Give the slots that this process copies in; called on the loop."""
        return self._slots.setdefault(limits, slots_of(limits))

    def close(self) -> None:
        """Close the connections and end the loop."""
        if self._thread.is_alive():
            self.run(self.pool.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()


@cache
def process_runtime() -> Runtime:
    """Give this process's runtime, made when first asked for."""
    return Runtime()
