"""One thing that happened in a run, for a terminal, a log or another program."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
