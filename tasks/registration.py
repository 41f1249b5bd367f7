"""What this worker process shows of itself on the broker: it is there, and what it does.

Celery's own remote control stays off: it answers only a question at the right
moment, and costs every worker a channel that all others talk on.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import redis
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.model.cluster import Work, Worker
    from orchestrator.state.workers import Cluster

log = structlog.get_logger()

_GATHER_SECONDS = 0.1


class Registration:
    """This process's entry in the registry, written by one thread of its own."""

    def __init__(self) -> None:
        self._busy: list[Work] = []
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._ended = threading.Event()

    @property
    def is_busy(self) -> bool:
        """Whether a step runs here."""
        with self._lock:
            return bool(self._busy)

    @contextmanager
    def busy(self, work: Work) -> Iterator[None]:
        """Show a step for the time of the context; the step doesn't wait for that."""
        self._change(self._busy.append, work)
        try:
            yield
        finally:
            self._change(self._busy.remove, work)

    @contextmanager
    def shown(self, cluster: Cluster, worker: Worker) -> Iterator[None]:
        """Be in the registry for the time of the context."""
        cluster.show(worker)
        thread = threading.Thread(
            target=self._renew, args=(cluster, worker), daemon=True, name="presence"
        )
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._changed.set()
            thread.join()
            self._leave(cluster, worker)

    def _change(self, change: Callable[[Work], None], work: Work) -> None:
        with self._lock:
            change(work)
        self._changed.set()

    def _renew(self, cluster: Cluster, worker: Worker) -> None:
        while True:
            self._changed.wait(cluster.sign_seconds / 4)
            # One change seldom comes alone: each step that ends is followed by another.
            if self._ended.wait(_GATHER_SECONDS):
                return
            self._changed.clear()
            with self._lock:
                busy = tuple(self._busy)
            try:
                cluster.show(replace(worker, busy=busy))
            except redis.RedisError as error:
                # The next sign may find the server back.
                log.warning("sign failed", error=str(error))

    def _leave(self, cluster: Cluster, worker: Worker) -> None:
        try:
            cluster.leave(worker.name)
        except redis.RedisError as error:
            log.warning("the registry keeps us until our entry expires", error=str(error))


@cache
def process_registration() -> Registration:
    """Return this process's presence, made when first asked for."""
    return Registration()
