"""Runs that had nothing to do, kept in files until a server is there to take them.

A command that finds every host as it should be waits for no server and imports no
client for one. The next command that opens the server imports them, before it asks for any.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from orchestrator.model.event import Event
from orchestrator.model.plan import Plan
from orchestrator.model.report import HostResult

if TYPE_CHECKING:
    from pathlib import Path

MOST_KEPT = 1000
"""Runs that wait for a server; of more, the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class SpooledRun:
    """A run that ended without any step: its plan, how it ended, its events."""

    plan: Plan
    results: dict[str, HostResult]
    events: tuple[Event, ...]


def spool_run(directory: Path, ended: SpooledRun) -> None:
    """Spool a run; a reader finds all of it or nothing."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = directory / f"{ended.plan.run}.json"
    part = file.with_suffix(".new")
    part.write_bytes(msgspec.json.encode(replace(ended, plan=_without_details(ended.plan))))
    part.replace(file)
    for forgotten in waiting_runs(directory)[:-MOST_KEPT]:
        forgotten.unlink(missing_ok=True)


def waiting_runs(directory: Path) -> list[Path]:
    """Return the files of the runs that wait, the oldest first: ids sort by time."""
    return sorted(directory.glob("*.json"))


def read_run(file: Path) -> SpooledRun | None:
    """Read a run back; None if it can't be read, or is gone."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=SpooledRun)
    except (OSError, msgspec.DecodeError):
        return None


def _without_details(plan: Plan) -> Plan:
    """Leave out what only the steps of a run need: there may be many such runs."""
    hosts = tuple(
        replace(host, facts=replace(host.facts, cpu_flags=(), vulkan_devices=(), model_files=()))
        for host in plan.hosts
    )
    return replace(plan, hosts=hosts, builders=())
