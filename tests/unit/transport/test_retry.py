"""Trying again: until a deadline, over new connections, and no longer than that."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from inventory.host import Connection, Host
from orchestrator.errors import StageError, UnreachableError
from orchestrator.model.stage import Stage
from orchestrator.transport.retry import reconnecting, until

if TYPE_CHECKING:
    from collections.abc import Callable

CARBON = Host(name="carbon", connection=Connection("carbon"), nixos_name="carbon")


def failing(times: int, error: Exception) -> Callable[[], int]:
    """Return an attempt that fails so often, and then says how often it was made."""
    made = 0

    def attempt() -> int:
        nonlocal made
        made += 1
        if made <= times:
            raise error
        return made

    return attempt


def test_an_attempt_is_repeated_until_it_succeeds() -> None:
    """Failures of the kind that may pass are forgotten once an attempt succeeds."""
    attempt = failing(2, StageError("not yet"))
    assert until(time.monotonic() + 5, attempt, StageError, interval=0.01) == 3


def test_the_last_failure_is_raised_at_the_deadline() -> None:
    """After the deadline nothing is attempted again; once it is attempted in any case."""
    with pytest.raises(StageError, match="not yet"):
        until(time.monotonic() - 1, failing(1, StageError("not yet")), StageError)


def test_what_is_not_expected_is_not_repeated() -> None:
    """Another kind of failure ends it at once."""
    with pytest.raises(ValueError, match="a defect"):
        until(time.monotonic() + 5, failing(1, ValueError("a defect")), StageError)


class Pool:
    """Connections that break as a test says."""

    def __init__(self, failed_logins: int = 0) -> None:
        self.failed_logins = failed_logins
        self.dropped = 0

    async def shell(self, _host: Host) -> str:
        """Log in; the first so many fail."""
        if self.failed_logins:
            self.failed_logins -= 1
            message = "no answer"
            raise UnreachableError(message, stage=Stage.CONNECT)
        return "a shell"

    async def drop(self, _host: Host) -> None:
        """Forget a connection."""
        self.dropped += 1


def attempts(broken: int) -> tuple[Callable[[Any], Any], list[object]]:
    """Return an attempt whose connection breaks so often, and the shells that it was given."""
    shells: list[object] = []

    async def attempt(shell: object) -> str:
        shells.append(shell)
        if len(shells) <= broken:
            message = "it broke"
            raise UnreachableError(message, stage=Stage.SMOKE)
        return "done"

    return attempt, shells


@pytest.mark.parametrize(
    ("broken", "times", "ends_well"), [(0, 1, True), (1, 1, True), (2, 1, False), (3, 3, True)]
)
def test_a_broken_connection_is_replaced_so_many_times(
    *, broken: int, times: int, ends_well: bool
) -> None:
    """Each attempt has a connection of its own, and the last one's end is the end."""
    pool: Any = Pool()
    attempt, shells = attempts(broken)
    work = reconnecting(pool, CARBON, attempt, times=times, logins_too=False)
    if ends_well:
        assert asyncio.run(work) == "done"
        assert pool.dropped == broken
    else:
        with pytest.raises(UnreachableError, match="it broke"):
            asyncio.run(work)
    assert len(shells) == min(broken, times) + 1


@pytest.mark.parametrize("logins_too", [True, False])
def test_a_failed_login_means_that_the_host_is_gone_or_coming(*, logins_too: bool) -> None:
    """A builder that can't be logged in to is gone; a host that was switched may be coming."""
    pool: Any = Pool(failed_logins=1)
    attempt, _ = attempts(0)
    work = reconnecting(pool, CARBON, attempt, times=1, logins_too=logins_too)
    if logins_too:
        assert asyncio.run(work) == "done"
    else:
        with pytest.raises(UnreachableError, match="no answer"):
            asyncio.run(work)
