"""Whether a host would go back by itself, at the moment of which a message speaks."""

from __future__ import annotations

from enum import Enum


class Guard(Enum):
    """What the automatic rollback of a host does now; its value is the sentence for a user."""

    ARMED = (
        "its automatic rollback is armed: it goes back to its old system by itself, unless"
        " this run confirms the new one in time"
    )
    BEING_DISARMED = (
        "its automatic rollback may be disarmed already: it may stay on the new system;"
        " `orchestrate status` says what it runs"
    )
    ROLLING_BACK = "its rollback may go on there; `orchestrate status` says what it runs"
    NONE = "no automatic rollback is armed there: it keeps the system that it runs"

    @classmethod
    def until_confirmed(cls, *, has_previous: bool) -> Guard:
        """Return what holds between switch and confirmation: without an old system, nothing."""
        return cls.ARMED if has_previous else cls.NONE
