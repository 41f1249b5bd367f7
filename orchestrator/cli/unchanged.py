"""A run that has nothing to do: it ends at once, and is remembered without a server."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import structlog

from orchestrator.cli.invocation import Invocation
from orchestrator.deploy.rollout.run import Run
from orchestrator.deploy.spool import SpooledRun, spool_run
from orchestrator.errors import UsageError
from orchestrator.model.event import Event, RunFinished, event_now
from orchestrator.model.plan import Plan
from orchestrator.workspace import spool_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.model.report import HostResult

log = structlog.get_logger()

_BROKER_SECONDS = 2.0
"""How long such a run waits for a broker to remember it."""


@dataclass(frozen=True, slots=True)
class UnchangedRun:
    """A run whose every host is as it should be, or left out.

    Args:
        plan: what it would do.
        planning: the events of making the plan.
        invocation: says which broker remembers it.
    """

    plan: Plan
    planning: tuple[Event, ...]
    invocation: Invocation

    def drive(self, on_event: Callable[[Event], None]) -> dict[str, HostResult]:
        """End it; return how it ended for each host."""
        ended = Run(self.plan, {}).results
        finish = event_now(self.plan.run, "", "", RunFinished(ended))
        on_event(finish)
        self._remember(SpooledRun(self.plan, ended, (*self.planning, finish)))
        return ended

    def _remember(self, ended: SpooledRun) -> None:
        """Spool the run.

        A private server isn't started for it: the command that starts it next imports
        the run. A broker that is shared gets it at once, if it answers.
        """
        broker = self.invocation.broker
        try:
            spool_run(spool_directory(broker), ended)
        except OSError as error:
            # How the run ended is known, and says more than a disk that is full.
            log.warning("the run is not remembered", error=str(error))
            return
        if broker is not None and not self._imported(broker):
            log.warning("the run is remembered once the broker answers", run=ended.plan.run)

    def _imported(self, broker: str) -> bool:
        # Only a broker of the user's own makes such a run import redis.
        from orchestrator.cli.broker import open_journal  # noqa: PLC0415
        from tasks.broker import answers  # noqa: PLC0415

        try:
            if answers(broker, _BROKER_SECONDS):
                with open_journal(self.invocation):
                    return True
        except UsageError as error:
            log.warning("the broker can't be used", **asdict(error.failure))
        return False
