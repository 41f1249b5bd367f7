"""What a run has done so far, per subject and step."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from orchestrator.errors import Failure, PayloadError
from orchestrator.model.stage import Stage

T = TypeVar("T")

LEASE_SECONDS = 10.0
"""How long a started step counts as alive after its worker's last sign."""


class Step(StrEnum):
    """A journaled part of a run; each is one task."""

    BUILD = Stage.BUILD.value
    COPY = Stage.COPY_CLOSURE.value
    SWITCH = Stage.SWITCH.value
    SMOKE = Stage.SMOKE.value
    HEALTH = Stage.HEALTH_CHECK.value
    CONFIRM = Stage.CONFIRM.value
    REBOOT = Stage.REBOOT.value
    BOOT = Stage.BOOT.value
    DRY_ACTIVATE = Stage.DRY_ACTIVATE.value
    ROLLBACK = Stage.ROLLBACK.value

    @property
    def begins_something(self) -> bool:
        """Whether a paused run holds it back: what a host is in the middle of goes on."""
        return self in _BEGINNINGS

    @property
    def needs_lock(self) -> bool:
        """Whether its host's lock is needed: all from the switch to the end is one change."""
        return self not in (Step.BUILD, Step.COPY, Step.DRY_ACTIVATE)


_BEGINNINGS = (
    Step.BUILD,
    Step.COPY,
    Step.SWITCH,
    Step.REBOOT,
    Step.BOOT,
    Step.DRY_ACTIVATE,
)


class Control(StrEnum):
    """What a user has told a run to do; nothing if it just goes on."""

    PAUSE = "pause"
    CANCEL = "cancel"


class StepState(StrEnum):
    """Where a step stands."""

    SENT = "sent"
    STARTED = "started"
    DONE = "done"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more comes of it."""
        return self in (StepState.DONE, StepState.FAILED)


@dataclass(frozen=True, slots=True)
class StepKey:
    """`subject` is a host's name, or a derivation path for a build."""

    step: Step
    subject: str

    def __str__(self) -> str:
        """Return the field name used in the journal's hash."""
        return f"{self.step.value}:{self.subject}"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step's entry: state, fencing token, when it was sent and ended, report or error.

    Times are seconds of the journal's clock, 0 if they aren't known.
    """

    state: StepState
    token: int = 0
    sent_at: float = 0.0
    ended_at: float = 0.0
    report: dict[str, Any] = field(default_factory=dict)
    error: Failure | None = None

    def report_as(self, kind: type[T], key: StepKey) -> T:
        """Read the report of the step `key`, whose record this is.

        Raises:
            PayloadError: it is something else.
        """
        try:
            return msgspec.convert(self.report, kind)
        except msgspec.ValidationError as error:
            host = "" if key.step is Step.BUILD else key.subject
            message = f"the journal's report of {key} can't be read: {error}"
            raise PayloadError(message, host=host, stage=key.step) from error
