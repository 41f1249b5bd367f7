"""Events of a run's steps, for the driver that sends them and the workers that perform them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from orchestrator.errors import PayloadError
from orchestrator.model.event import event_now
from orchestrator.model.journal import Step
from orchestrator.model.store import DerivationPath

if TYPE_CHECKING:
    from orchestrator.model.event import Body, Event
    from orchestrator.model.journal import StepKey
    from orchestrator.model.plan import Plan


def step_event(run: str, host: str, key: StepKey, body: Body) -> Event:
    """Build an event of a step that happens now; a build's names its derivation."""
    if key.step is Step.BUILD:
        body = msgspec.structs.replace(body, derivation=DerivationPath(key.subject))
    return event_now(run, host, key.step, body)


def host_of(plan: Plan, key: StepKey) -> str:
    """Name the host that a step's events are about: a build's is its builder.

    Raises:
        PayloadError: the plan has no such host or build.
    """
    try:
        if key.step is Step.BUILD:
            return plan.build(DerivationPath(key.subject)).builder
        return plan.host(key.subject).name
    except KeyError as error:
        message = f"the plan has no {key.subject}"
        raise PayloadError(message, stage=key.step) from error
