"""The one way to try again: at intervals until a deadline, or over a new connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from orchestrator.errors import UnreachableError
from orchestrator.model.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from inventory.host import Host
    from orchestrator.transport.connect import ConnectionPool
    from orchestrator.transport.shell import SshShell

T = TypeVar("T")

INTERVAL_SECONDS = 1.0


def until(
    deadline: float,
    attempt: Callable[[], T],
    failures: type[Exception],
    interval: float = INTERVAL_SECONDS,
) -> T:
    """Attempt something again and again until it succeeds; once at least.

    Args:
        deadline: no attempt begins after it, by the monotonic clock.
        attempt: what is attempted.
        failures: what an attempt that may be repeated raises.
        interval: seconds between two attempts.

    Raises:
        Exception: one of `failures`, by the last attempt; anything else, by any.
    """
    while True:
        try:
            return attempt()
        except failures:
            if time.monotonic() + interval >= deadline:
                raise
        time.sleep(interval)


async def reconnecting(
    pool: ConnectionPool,
    host: Host,
    attempt: Callable[[SshShell], Awaitable[T]],
    *,
    times: int,
    logins_too: bool,
) -> T:
    """Attempt something on a host, over a new connection if one breaks under it.

    Args:
        pool: the connections of this process.
        host: where.
        attempt: what is attempted.
        times: how many new connections it may take.
        logins_too: whether a login that fails is tried again as well, or the host is
            taken for gone then.

    Raises:
        UnreachableError: the last connection broke, or no login succeeds.
    """
    for _ in range(times):
        try:
            return await attempt(await pool.shell(host))
        except UnreachableError as error:
            if error.stage == Stage.CONNECT and not logins_too:
                raise
            await pool.drop(host)
    return await attempt(await pool.shell(host))
