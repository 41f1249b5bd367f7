"""The visibility timeout: one for all workers of a broker, and longer than any step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import UsageError
from orchestrator.model.cluster import LONGEST_STEP_SECONDS, VISIBILITY_TIMEOUT_SECONDS
from orchestrator.state.workers import check_timeouts
from tests.unit.cli.test_workers import FORGE


def test_our_own_settings_are_good() -> None:
    """What this version uses passes its own check, alone and beside its like."""
    like = replace(FORGE, visibility_timeout=VISIBILITY_TIMEOUT_SECONDS)
    check_timeouts(VISIBILITY_TIMEOUT_SECONDS, LONGEST_STEP_SECONDS, (like, like))


def test_a_timeout_within_a_step_is_refused() -> None:
    """A message that is given out again in the middle of its step is no setting to start with."""
    with pytest.raises(UsageError, match="3600 s is too short: a step may take 43200 s"):
        check_timeouts(3600, LONGEST_STEP_SECONDS, ())


@pytest.mark.parametrize("other", [3600.0, 7 * 86400.0])
def test_another_timeout_on_the_broker_is_refused(other: float) -> None:
    """The shorter of two holds for both: the error names both, the worker, and what to do."""
    with pytest.raises(UsageError, match=f"86400 s here and {other:g} s in worker forge") as caught:
        check_timeouts(86400, 43200, (FORGE, replace(FORGE, visibility_timeout=other)))
    assert "0.1.0" in caught.value.hint
