"""`orchestrate pause`, `continue` and `cancel`: control a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from orchestrator.cli import options
from orchestrator.cli.broker import open_journal
from orchestrator.cli.resume import meant_run
from orchestrator.cli.run import resume
from orchestrator.errors import UsageError
from orchestrator.model.journal import Control
from orchestrator.state.journal import DRIVER_SECONDS, Journal

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation


@options.command("pause", options.OPEN_RUN, options.BROKER)
def pause(invocation: Invocation, run: str | None) -> int:
    """Begin nothing new in RUN, or in the last run that has not ended, until `continue`.

    What runs is finished. A host whose system has begun to change goes on
    until it is confirmed or put back.
    """
    run_id = _set_control(invocation, run, Control.PAUSE)
    click.echo(f"run {run_id} pauses\n  next: orchestrate continue {run_id}")
    return 0


@options.command("continue", options.OPEN_RUN, options.BROKER)
def go_on(invocation: Invocation, run: str | None) -> int:
    """Go on with RUN, or with the last run that has not ended, after `pause`."""
    run_id = _set_control(invocation, run, None)
    click.echo(
        f"run {run_id} goes on\n  next: if its controller is dead: orchestrate resume {run_id}"
    )
    return 0


@options.command("cancel", options.OPEN_RUN, options.BROKER)
def cancel(invocation: Invocation, run: str | None) -> int:
    """Begin nothing more in RUN, or in the last run that has not ended.

    Builds are stopped. A host whose system has begun to change goes on to a
    decision: it is confirmed, or put back. If the run's controller is gone, this
    command brings it to its end.
    """
    run_id = _set_control(invocation, run, Control.CANCEL)
    click.echo(
        f"run {run_id} is cancelled: what has begun to switch is brought to an end,"
        " the rest is left alone"
    )
    if not _is_left_by_its_driver(invocation, run_id):
        return 0
    click.echo("its controller is gone: it is brought to its end here")
    return _NEEDS_REPAIR if resume(invocation, run_id) == _NEEDS_REPAIR else 0


_NEEDS_REPAIR = 4
"""The exit code that says that a host needs a hand."""


def _is_left_by_its_driver(invocation: Invocation, run: str) -> bool:
    """Wait until a run has ended, or its driver must have given a sign; say if none has."""
    with open_journal(invocation) as client:
        journal = Journal(client, run)
        until = time.monotonic() + DRIVER_SECONDS + 1
        while time.monotonic() < until and not journal.is_finished():
            if not journal.has_driver():
                return True
            time.sleep(0.1)
    return False


def _set_control(invocation: Invocation, run: str | None, control: Control | None) -> str:
    """Set a run's control, and return its id.

    Raises:
        PayloadError: there is no such run.
        UsageError: it has ended, or was cancelled before.
    """
    wanted = meant_run(invocation, run)
    with open_journal(invocation) as client:
        journal = Journal(client, wanted)
        journal.plan()
        if journal.is_finished():
            message = f"run {wanted} has ended already"
            raise UsageError(message, hint=f"see `orchestrate show {wanted}`")
        if control is not Control.CANCEL and journal.is_cancelled():
            message = f"run {wanted} was cancelled"
            raise UsageError(message, hint="start a new one with `orchestrate deploy`")
        journal.set_control(control)
    return wanted
