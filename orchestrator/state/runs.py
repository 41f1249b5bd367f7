"""The runs that a server knows, and what they left behind for each host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.model.report import HostResult
from orchestrator.state.codec import as_text, read_back
from orchestrator.state.journal import (
    RUNS,
    SEE_HISTORY,
    Journal,
    last_results_of,
    read_header,
)

if TYPE_CHECKING:
    import redis


def runs(client: redis.Redis, project: str = "") -> tuple[str, ...]:
    """Return the ids of the runs that are still readable, the newest first.

    Args:
        client: the server.
        project: whose; empty for all.

    Raises:
        PayloadError: an entry was damaged.
    """
    kept = _kept(client)
    if not project:
        return kept
    found: Any = client.mget([Journal(client, run).key("header") for run in kept]) if kept else ()
    return tuple(
        run
        for run, data in zip(kept, found, strict=True)
        # None: it has expired meanwhile.
        if data is not None and read_header(run, data).origin.project == project
    )


def _kept(client: redis.Redis) -> tuple[str, ...]:
    listed: Any = client.zrevrange(RUNS, 0, -1)
    pipeline = client.pipeline(transaction=False)
    for run in listed:
        pipeline.exists(f"orchestrate:run:{as_text(run)}:plan")
    kept = dict(zip(listed, pipeline.execute(), strict=True))
    expired = [run for run, there in kept.items() if not there]
    if expired:
        client.zrem(RUNS, *expired)
    return tuple(as_text(run) for run, there in kept.items() if there)


def find_run(client: redis.Redis, wanted: str, project: str = "") -> str:
    """Return the run that `wanted` means: an id, its beginning, or `last` for the newest.

    An id may be that of any project's run, and the last run is this one's.

    Raises:
        UsageError: it means no run, or several.
    """
    if wanted == "last" and (own := runs(client, project)):
        return own[0]
    known = runs(client)
    meant = [wanted] if wanted in known else [run for run in known if run.startswith(wanted)]
    if len(meant) > 1:
        message = f"run ID prefix {wanted} matches {len(meant)} runs"
        raise UsageError(message, hint=f"use a longer prefix: {', '.join(meant[:5])}")
    if not meant:
        message = f"there is no run {wanted}"
        raise UsageError(message, hint=SEE_HISTORY)
    return meant[0]


def last_results(client: redis.Redis, project: str = "") -> dict[str, tuple[str, HostResult]]:
    """Return the last result of each host of a project, and the run it comes from.

    Raises:
        PayloadError: an entry was damaged.
    """
    name = last_results_of(project)
    found = client.hgetall(name)
    return {
        as_text(host): read_back(
            value,
            tuple[str, HostResult],
            f"the last result of {as_text(host)}",
            f"HDEL '{name}' '{as_text(host)}' forgets it",
        )
        for host, value in found.items()
    }
