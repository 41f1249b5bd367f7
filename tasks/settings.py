"""The settings of a worker."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.cluster import LONGEST_STEP_SECONDS, VISIBILITY_TIMEOUT_SECONDS
from orchestrator.model.journal import LEASE_SECONDS

RESTORE_SECONDS = 60.0
"""How often a worker looks for messages that were not acknowledged in time."""

PERFORMER = "orchestrator.deploy.perform.perform:perform"
"""The function that does a step, as `module:name`."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker does with a step, and how long other processes wait for its signs.

    Args:
        performer: the function that does a step, as `module:name`.
        lease_seconds: how long a step counts as alive after the last sign.
        visibility_timeout: seconds until an unacknowledged message runs again.
        longest_step: seconds that a step may take; the timeout must be longer.
        restore_interval: seconds between two looks for such messages.
    """

    performer: str = PERFORMER
    lease_seconds: float = LEASE_SECONDS
    visibility_timeout: float = VISIBILITY_TIMEOUT_SECONDS
    longest_step: float = LONGEST_STEP_SECONDS
    restore_interval: float = RESTORE_SECONDS
