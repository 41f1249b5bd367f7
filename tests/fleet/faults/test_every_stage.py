"""The controller, its worker or the server is killed at every stage: `resume` finishes.

The host itself notes activation and boot loader: neither is done twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fleet.faults import strike
from tests.fleet.faults.moment import NAME, Moment, at_its_moment, attempt
from tests.fleet.faults.settled import settled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fleet.faults.moment import Deploying
    from tests.fleet.fleet import Deployment, Fleet

pytestmark = pytest.mark.lab

KILLS = (strike.kill_controller, strike.kill_worker, strike.kill_server)


QUICK = (
    (strike.kill_controller, Moment.CONFIRM),
    (strike.kill_worker, Moment.TEST),
    (strike.kill_server, Moment.TEST),
)
"""Those that run with all tests; a dead worker takes fifteen seconds to be missed."""

CHOSEN = [
    pytest.param(
        kills,
        moment,
        id=f"{kills.__name__}-{moment}",
        marks=[] if (kills, moment) in QUICK else pytest.mark.faults,
    )
    for kills in KILLS
    for moment in Moment
]


@pytest.mark.parametrize(("kills", "moment"), CHOSEN)
def test_what_is_killed_is_gone_on_with(
    fleet: Fleet, tmp_path: Path, moment: Moment, kills: Callable[[Deploying], None]
) -> None:
    """SIGKILL in mid-stage loses nothing, and nothing happens twice."""
    with strike.can_strike(kills, fleet, tmp_path) as seen:
        begun = attempt(seen, moment)
        with at_its_moment(begun) as deploying:
            kills(deploying)
            begun.host.exec("rm", "-f", "/run/hold-llama-cli")
            deployment = finished(deploying)
    assert deployment.outcomes() == {NAME: "deployed"}, deployment.why()
    state = settled(begun.host)
    assert state.is_whole, state
    assert begun.runs(state.running)
    assert begun.done == ["test", "confirm"]


def finished(deploying: Deploying) -> Deployment:
    """Wait for the command's end; where it was no end of the run, go on with `resume`."""
    # What a killed command has printed is dropped.
    if deploying.process.poll() is None:
        deployment = deploying.end()
        if deployment.hosts:
            return deployment
        assert "orchestrate resume" in deployment.stderr, deployment.why()
    return deploying.attempt.fleet.events_of("resume", deploying.run)
