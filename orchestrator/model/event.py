"""One thing that happened in a run, for a terminal, a log or another program."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from orchestrator.model.report import HostResult


@dataclass(frozen=True, slots=True)
class Event:
    """A line of `--json`.

    `ts` is seconds since the epoch; `host` and `stage` are empty for the run as
    a whole. `data` is JSON of the event's own kind.
    """

    ts: float
    run: str
    host: str
    stage: str
    event: str
    data: dict[str, Any] = field(default_factory=dict)


def run_finished(run: str, ended: dict[str, HostResult]) -> Event:
    """Make the last event of a run, now."""
    hosts = msgspec.to_builtins(ended)
    return Event(time.time(), run, "", "", "run_finished", {"hosts": hosts})
