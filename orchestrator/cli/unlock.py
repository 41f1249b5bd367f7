"""`orchestrate unlock`: which run has a host's lock, and the end of a dead run's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from orchestrator.cli import options
from orchestrator.cli.broker import open_journal
from orchestrator.errors import UsageError
from orchestrator.state.host_locks import (
    LOCK_SECONDS,
    SILENT_SECONDS,
    end_lock,
    find_lock,
    silent_seconds,
)
from orchestrator.state.journal import now

if TYPE_CHECKING:
    import redis

    from inventory.host import Host
    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.host_lock import HostLock


@options.command(
    "unlock",
    click.Argument(["target"], metavar="HOST"),
    click.Option(["--force"], is_flag=True, help="Also take it from a run that is alive."),
    options.BROKER,
)
def command(invocation: Invocation, *, force: bool) -> int:
    """Say which run holds HOST's lock, and free it if that run is dead.

    A run holds the lock from a host's switch until it is confirmed or rolled
    back. A lock that isn't renewed ends by itself after a minute.
    """
    with open_journal(invocation) as client:
        for one in invocation.hosts:
            click.echo(_unlock(client, one, force=force))
    return 0


def _unlock(client: redis.Redis, host: Host, *, force: bool) -> str:
    """Free a host's lock and say whose it was.

    Raises:
        UsageError: its run is alive, and `force` isn't given.
    """
    lock = find_lock(client, host)
    seen = now(client)
    if lock is None or lock.ends_at <= seen:
        return f"{host.name}: no run has its lock"
    whose = describe(lock, seen)
    if silent_seconds(lock, seen) < SILENT_SECONDS and not force:
        raise UsageError(
            message=f"{whose}, which is alive",
            hint=f"wait for it, or end it with `orchestrate cancel {lock.run}`;"
            " --force takes the lock from it in the middle of its change",
            host=host.name,
        )
    freed = end_lock(client, host, lock)
    return f"{host.name}: {whose}; {'freed' if freed else 'another run has it by now'}"


def describe(lock: HostLock, seen: float) -> str:
    """Describe whose a lock is, since when, and when its run gave its last sign. Pure.

    Args:
        lock: one that has not ended.
        seen: seconds of the server's clock, at most `LOCK_SECONDS` before its end.
    """
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(lock.since))
    silent = max(0.0, min(silent_seconds(lock, seen), LOCK_SECONDS))
    return (
        f"run {lock.run} of {lock.author or 'an unknown user'} has its lock since {since}"
        f" (last sign {silent:.0f} s ago)"
    )
