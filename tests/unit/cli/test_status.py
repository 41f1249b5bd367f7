"""Whether a machine still runs what its last run left there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchestrator.cli.status import describe, status_of
from orchestrator.deploy.history import OpenRun
from orchestrator.errors import UnreachableError
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


@pytest.mark.parametrize(
    ("running", "said"),
    [
        ("old-carbon", "run run-2 is at smoke there, on its old system"),
        ("new", "run run-2 is at smoke there, on its new system, unconfirmed"),
        ("other", "run run-2 is at smoke there, on neither of its systems"),
    ],
)
def test_an_open_run_is_told_with_the_machine(running: str, said: str) -> None:
    """Who asks once hears which of the run's two systems the machine is on."""
    opened = OpenRun("run-2", "smoke", output("old-carbon"), output("new"))
    answer = replace(facts("carbon"), running_system=output(running))
    status = replace(status_of("carbon", answer, "", None), open_run=opened)
    assert describe([status]).splitlines()[-1].strip() == said


def test_a_host_that_does_not_answer_says_why() -> None:
    """A reader gets all parts, escaped; a program also each by its name."""
    error = UnreachableError("no \x1b[2J answer", host="carbon", stage="connect", hint="is it on?")
    status = status_of("carbon", error, "", None)
    assert status.error == str(error)
    assert status.failure == error.failure
    assert describe([status]).splitlines() == [
        "carbon: connect: no \\x1b[2J answer",
        "  next: is it on?",
    ]
