"""Whether a machine still runs what its last run left there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchestrator.cli.status import status_of
from orchestrator.model.report import HostResult, Outcome
from tests.plans import facts, output

if TYPE_CHECKING:
    from orchestrator.model.store import StorePath


@pytest.mark.parametrize(
    ("left", "drift"),
    [
        (output("old-carbon"), ""),
        (output("other"), "it runs another system than its last run left there"),
        # A run that could not reach it, or refused to touch it, left nothing there.
        (None, ""),
    ],
)
def test_drift_is_against_what_was_left(left: StorePath | None, drift: str) -> None:
    """What runs is held against the last run's end, where that is known."""
    result = HostResult(Outcome.UNREACHABLE if left is None else Outcome.DEPLOYED, current=left)
    assert status_of("carbon", facts("carbon"), "run-1", result).drift == drift


def test_a_system_that_is_not_the_boot_default_drifts() -> None:
    """What was only tested is gone after a reboot."""
    tested = replace(facts("carbon"), boot_default=output("older"))
    assert status_of("carbon", tested, "", None).drift.endswith("than it would boot")
