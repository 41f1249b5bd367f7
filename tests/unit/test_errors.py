"""What a user reads when something goes wrong, and the exit code that says it."""

from __future__ import annotations

import pytest

from orchestrator.errors import (
    BuilderError,
    CommandError,
    InventoryError,
    OrchestrateError,
    PayloadError,
    PlanError,
    RebootedError,
    RunInterruptedError,
    StageError,
    UnreachableError,
    UsageError,
)


def subclasses(kind: type[OrchestrateError]) -> list[type[OrchestrateError]]:
    """Give a class of errors and everything below it."""
    return [kind, *(below for child in kind.__subclasses__() for below in subclasses(child))]


ALL = [kind for kind in subclasses(OrchestrateError) if kind.__module__ == "orchestrator.errors"]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_says_all_it_knows(kind: type[OrchestrateError]) -> None:
    """Host, stage, message, command, last lines and the next step are shown, in this order."""
    error = kind(
        message="the build failed",
        hint="read its log",
        host="carbon",
        stage="build",
        command="nix log x",
        last_lines=("one", "two"),
    )
    assert str(error).splitlines() == [
        "carbon: build: the build failed",
        "  command: nix log x",
        "  | one",
        "  | two",
        "  next: read its log",
    ]


@pytest.mark.parametrize("kind", ALL)
def test_what_is_unknown_leaves_no_trace(kind: type[OrchestrateError]) -> None:
    """An error with nothing but its message is that message."""
    assert str(kind("no flake")) == "no flake"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (OrchestrateError, 2),
        (UsageError, 2),
        (InventoryError, 2),
        (PlanError, 2),
        (PayloadError, 2),
        (StageError, 3),
        (UnreachableError, 3),
        (RebootedError, 3),
        (BuilderError, 3),
        (CommandError, 3),
        (RunInterruptedError, 4),
    ],
)
def test_exit_codes(kind: type[OrchestrateError], code: int) -> None:
    """Configuration is 2, a failed host is 3, what waits for somebody is 4."""
    assert kind("x").exit_code == code


def test_every_error_is_in_the_table_of_exit_codes() -> None:
    """A new kind of error gets an exit code on purpose."""
    assert len(ALL) == 11


def test_one_place_is_enough() -> None:
    """An error without a stage starts with its host, one without a host with its stage."""
    assert str(StageError("gone", host="carbon")) == "carbon: gone"
    assert str(StageError("gone", stage="build")) == "build: gone"
