"""Bring a server the runs that ended while none was there."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis
import structlog

from orchestrator.deploy.spool import read_run, waiting_runs
from orchestrator.errors import PayloadError
from orchestrator.state.journal import Journal
from orchestrator.state.runs import last_results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.deploy.spool import SpooledRun

log = structlog.get_logger()


def import_spooled_runs(client: redis.Redis, directory: Path) -> None:
    """Write the runs that wait in `directory` to the server, as if it had been there.

    A server that is lost meanwhile finds the rest there the next time.
    """
    if not directory.is_dir():
        return
    try:
        with _alone(directory):
            for file in waiting_runs(directory):
                _write(client, read_run(file))
                file.unlink(missing_ok=True)
    except (redis.RedisError, PayloadError) as error:
        log.warning("runs are not remembered yet", directory=str(directory), error=str(error))


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let one process at a time import what waits there."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(client: redis.Redis, ended: SpooledRun | None) -> None:
    """Write one run, if it is one; its results come last, and say that all of it is there."""
    if ended is None:
        return
    origin = ended.plan.origin
    journal = Journal(client, ended.plan.run)
    is_over = time.time() > origin.started_at + origin.keep_seconds
    if is_over or journal.is_finished():
        return
    client.delete(journal.key("events"))
    journal.create(ended.plan, origin.started_at)
    journal.emit(*ended.events)
    # Another run may have ended there since.
    known = {host: run for host, (run, _) in last_results(client, origin.project).items()}
    newest = {host for host in ended.results if known.get(host, "") < journal.run}
    journal.save_results(ended.results, newest)
