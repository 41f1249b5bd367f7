"""Two controllers deploy to one machine at once: one after the other, each from what runs then."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import parse, state_of

if TYPE_CHECKING:
    import subprocess

    from tests.fleet.fleet import Fleet

pytestmark = pytest.mark.lab


def read_until(process: subprocess.Popen[str], **wanted: str) -> list[str]:
    """Read a command's lines until one is an event as wanted; give them all."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        event = json.loads(line)
        if all(event[name] == value for name, value in wanted.items()):
            return lines
    pytest.fail(f"the command ended before {wanted}: {process.communicate()[1]}")


def test_the_second_waits_and_goes_from_what_the_first_left(fleet: Fleet) -> None:
    """While a smoke hangs another run waits, named; then it deploys from where that one ended.

    The second plan was made while the first one's system ran, which was put back since.
    """
    before = state_of(fleet["carbon"])
    fleet.change(broken={"carbon": "hang"})
    patient = fleet.with_vars(host_vars={"carbon": {"orchestrate_smoke_timeout": 15}})
    first = patient.start("deploy", "carbon", "--json")
    said = read_until(first, stage="smoke", event="stage_started")
    greeting = fleet.change()
    second = fleet.start("deploy", "carbon", "--json")
    waiting = read_until(second, event="waits_for_lock")
    run = json.loads(said[-1])["run"]
    assert f"run {run} of " in json.loads(waiting[-1])["message"]
    refused = fleet.orchestrate("unlock", "carbon", check=False)
    assert refused.returncode == 2
    assert f"run {run} of " in refused.stderr
    rest, errors = first.communicate(timeout=60)
    put_back = parse("".join(said) + rest, first.returncode, errors)
    assert put_back.outcomes() == {"carbon": "rolled_back"}, put_back.why()
    assert put_back.hosts["carbon"]["current"] == before.running
    rest, errors = second.communicate(timeout=60)
    deployed = parse("".join(waiting) + rest, second.returncode, errors)
    assert deployed.outcomes() == {"carbon": "deployed"}, deployed.why()
    assert deployed.hosts["carbon"]["previous"] == before.running
    after = state_of(fleet["carbon"])
    assert after.running == after.boot_default == deployed.hosts["carbon"]["current"]
    assert after.greeting == greeting
    assert "no run has its lock" in fleet.orchestrate("unlock", "carbon").stdout
