"""Which source copies to which host at a time, of all that one worker copies."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.transport.forward import Pace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from inventory.copying import CopyLimits

_BITS = 8
_MEGA = 1_000_000


@dataclass(slots=True)
class CopySlots:
    """The slots of one worker; used on its event loop alone.

    Args:
        at_once: how many copies may run at a time.
        pace: the budget that they share.
        arrived: run and host of each copy that ended well here; the journal has it
            a moment later, when the next copy has begun.
    """

    at_once: int
    pace: Pace
    arrived: set[tuple[str, str]] = field(default_factory=set)
    _busy: dict[str, int] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def slot(self, sources: Callable[[], Mapping[str, int]]) -> AsyncIterator[str]:
        """Wait for a slot, and yield the source that it is at.

        Args:
            sources: asked each time that something changes: which ones could give now,
                and how many copies it may serve at a time, the best first.
        """
        async with self._changed:
            while (chosen := self._free(sources())) is None:
                await self._changed.wait()
            self._busy[chosen] = self._busy.get(chosen, 0) + 1
        try:
            yield chosen
        finally:
            async with self._changed:
                self._busy[chosen] -= 1
                self._changed.notify_all()

    def _free(self, sources: Mapping[str, int]) -> str | None:
        if sum(self._busy.values()) >= self.at_once:
            return None
        free = (name for name, most in sources.items() if self._busy.get(name, 0) < most)
        return next(free, None)


def slots_of(limits: CopyLimits) -> CopySlots:
    """Make the slots that a fleet's limits allow."""
    mbit = limits.bandwidth_mbit
    return CopySlots(limits.at_once, Pace(mbit * _MEGA / _BITS if mbit is not None else None))
