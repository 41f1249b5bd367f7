"""What a process keeps between steps: one event loop, one connection a host.

A command looks at its hosts on the loop first, then its worker's threads call in
from outside. Sharing the connections is what makes a stage cost a channel instead
of a login.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import structlog

from orchestrator.deploy.perform.copy_slots import slots_of
from orchestrator.stages.copy_closure.source import ClosureSources
from orchestrator.transport.connect import ConnectionPool

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from inventory.copying import CopyLimits
    from orchestrator.deploy.perform.copy_slots import CopySlots

T = TypeVar("T")

log = structlog.get_logger()


class RuntimeClosedError(RuntimeError):
    """A call came after the runtime was closed: its process is about to end.

    No `OrchestrateError`, because it says nothing of the step that called. That one has
    neither failed nor ended: its lease ends, and a driver sends it again.
    """


class Runtime:
    """An event loop with a pool of connections on it."""

    def __init__(self) -> None:
        self.pool = ConnectionPool()
        self.closure_sources = ClosureSources()
        self._slots: dict[CopyLimits, CopySlots] = {}
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="ssh")
        self._lock = threading.Lock()
        self._calls = 0
        self._is_here = False
        self._is_closed = False

    def run_here(self, work: Coroutine[None, None, T]) -> T:
        """Run a coroutine on the loop in this thread, once and before anything else.

        An interruption cancels it, as with `asyncio.run`.

        Raises:
            RuntimeClosedError: the runtime was closed before.
        """
        with self._lock:
            self._refuse_if_closed(work)
            self._is_here = True
        try:
            return self._runner.run(work)
        finally:
            # Others may have called meanwhile: their work goes on.
            with self._lock:
                self._is_here = False
                self._thread.start()

    def run(self, work: Coroutine[None, None, T]) -> T:
        """Run a coroutine on the loop and wait for it, from any other thread.

        Raises:
            RuntimeClosedError: the runtime was closed before.
        """
        with self._calling(work):
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def copy_slots(self, limits: CopyLimits) -> CopySlots:
        """Return the slots that this process copies in; called on the loop."""
        return self._slots.setdefault(limits, slots_of(limits))

    def close(self) -> None:
        """Close the connections and end the loop.

        If a step still runs, the end of the process closes them: cut off before, it
        would be taken for one that failed, and not for one to be done again.
        """
        with self._lock:
            busy = self._calls
            self._is_closed = not busy
        if busy:
            log.warning("steps go on to the end of the process", steps=busy)
            return
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self.pool.close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        else:
            self._runner.run(self.pool.close())
        self._runner.close()

    @contextmanager
    def _calling(self, work: Coroutine[None, None, object]) -> Iterator[None]:
        with self._lock:
            self._refuse_if_closed(work)
            self._calls += 1
            if not (self._is_here or self._thread.is_alive()):
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1

    def _refuse_if_closed(self, work: Coroutine[None, None, object]) -> None:
        if self._is_closed:
            # It would be warned of as never awaited.
            work.close()
            message = "the connections of this process are closed: it is about to end"
            raise RuntimeClosedError(message)


@cache
def process_runtime() -> Runtime:
    """Return this process's runtime, made when first asked for."""
    return Runtime()
