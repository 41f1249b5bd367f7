"""The runs that a server knows, and what they left behind for each host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.model.report import HostResult
from orchestrator.state.codec import as_text, read_back
from orchestrator.state.journal import LAST_RESULTS, RUNS, SEE_HISTORY

if TYPE_CHECKING:
    import redis


def runs(client: redis.Redis) -> tuple[str, ...]:
    """Return the ids of the runs that are still readable, the newest first."""
    listed: Any = client.zrevrange(RUNS, 0, -1)
    pipeline = client.pipeline(transaction=False)
    for run in listed:
        pipeline.exists(f"orchestrate:run:{as_text(run)}:plan")
    kept = dict(zip(listed, pipeline.execute(), strict=True))
    expired = [run for run, there in kept.items() if not there]
    if expired:
        client.zrem(RUNS, *expired)
    return tuple(as_text(run) for run, there in kept.items() if there)


def find_run(client: redis.Redis, wanted: str) -> str:
    """Return the run that `wanted` means: an id, its beginning, or `last` for the newest.

    Raises:
        UsageError: it means no run, or several.
    """
    known = runs(client)
    if wanted == "last" and known:
        return known[0]
    meant = [wanted] if wanted in known else [run for run in known if run.startswith(wanted)]
    if len(meant) > 1:
        message = f"run ID prefix {wanted} matches {len(meant)} runs"
        raise UsageError(message, hint=f"use a longer prefix: {', '.join(meant[:5])}")
    if not meant:
        message = f"there is no run {wanted}"
        raise UsageError(message, hint=SEE_HISTORY)
    return meant[0]


def last_results(client: redis.Redis) -> dict[str, tuple[str, HostResult]]:
    """Return each host's last result and the run it comes from.

    Raises:
        PayloadError: an entry was damaged.
    """
    found = client.hgetall(LAST_RESULTS)
    return {
        as_text(host): read_back(
            value,
            tuple[str, HostResult],
            f"the last result of {as_text(host)}",
            f"HDEL {LAST_RESULTS} '{as_text(host)}' forgets it",
        )
        for host, value in found.items()
    }
