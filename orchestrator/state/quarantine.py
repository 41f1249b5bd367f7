"""The quarantine in Redis, shared by all runs and controllers of one server.

What failed a smoke stays in it until the same passes one, which needs `--again`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import redis

from orchestrator.model.ledger import Quarantined
from orchestrator.model.quarantine import blamed
from orchestrator.model.stage import Stage
from orchestrator.model.store import StorePath
from orchestrator.state.codec import read_back
from orchestrator.state.journal import now

if TYPE_CHECKING:
    from orchestrator.model.plan import Evaluation
    from orchestrator.model.report import SmokeReport

_QUARANTINE = "orchestrate:quarantine"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The quarantine on a connected client that returns bytes."""

    client: redis.Redis

    def read(self) -> dict[StorePath, Quarantined]:
        """Return what is in it.

        Raises:
            PayloadError: an entry was damaged.
        """
        found: Any = self.client.hgetall(_QUARANTINE)
        return {StorePath(path.decode()): _read_back(value) for path, value in found.items()}

    def release(self, evaluation: Evaluation) -> None:
        """Let go of what has passed a smoke test."""
        passed = (evaluation.toplevel, *((evaluation.llama,) if evaluation.llama else ()))
        self.client.hdel(_QUARANTINE, *passed)

    def put(self, report: SmokeReport, evaluation: Evaluation, run: str) -> tuple[StorePath, ...]:
        """Put in what a failed smoke test speaks against, and return that."""
        paths = blamed(report, evaluation)
        entry = Quarantined(run, report.host, report.failure, now(self.client))
        for path in paths:
            self.client.hset(_QUARANTINE, path, msgspec.json.encode(entry))
        return paths


def _read_back(data: bytes) -> Quarantined:
    remedy = f"DEL {_QUARANTINE} forgets all of it"
    return read_back(data, Quarantined, "an entry of the quarantine", remedy, Stage.PLAN)
