"""What is remembered of real runs, and the rollback to what one of them had left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import state_of

if TYPE_CHECKING:
    from tests.fleet.fleet import Deployment, Fleet

pytestmark = pytest.mark.lab


def run_of(deployment: Deployment) -> str:
    """Return the id of a deployment's run."""
    return str(deployment.events[-1]["run"])


def deployed(fleet: Fleet) -> Deployment:
    """Change carbon's system and deploy it."""
    fleet.change()
    deployment = fleet.deploy_json("carbon")
    assert deployment.outcomes() == {"carbon": "deployed"}, deployment.why()
    return deployment


def test_a_run_is_remembered(fleet: Fleet) -> None:
    """`history`, `show` and `logs` say what `deploy` said, and no worker is started for them."""
    deployment = deployed(fleet)
    result = deployment.hosts["carbon"]
    newest = fleet.orchestrate("history", "carbon").stdout.splitlines()
    assert newest[0].startswith(f"{run_of(deployment)}  ")
    assert newest[0].endswith("deploy carbon: 1 deployed")
    assert newest[1].startswith("  carbon: deployed, ")
    shown = json.loads(fleet.orchestrate("show", run_of(deployment)[:-1], "--json").stdout)
    (host,) = shown["hosts"]
    assert host["result"] == result
    assert host["smoke"]["tokens_per_second"] == result["tokens_per_second"]
    assert host["wanted"] == result["current"] == state_of(fleet["carbon"]).running
    assert {build["state"] for build in shown["builds"]} == {"done"}
    told = fleet.events_of("logs", "last", "carbon")
    assert [event["stage"] for event in told.find(event="stage_finished")] == [
        *("facts", "variant", "evaluate"),
        *["build"] * len(shown["builds"]),
        *("copy_closure", "switch", "smoke", "confirm"),
    ]
    assert "carbon confirm: the new system is the boot default" in (
        fleet.orchestrate("logs", "last").stdout
    )


def test_a_run_with_nothing_to_do_is_remembered(fleet: Fleet) -> None:
    """It starts no server; the next `orchestrate history` finds it there, host by host."""
    before = deployed(fleet)
    again = fleet.deploy_json("carbon")
    assert again.outcomes() == {"carbon": "unchanged"}, again.why()
    assert fleet.processes() == []
    newest = fleet.orchestrate("history", "carbon").stdout.splitlines()
    assert newest[0].startswith(f"{run_of(again)}  ")
    assert newest[0].endswith("deploy carbon: 1 unchanged")
    assert newest[1].startswith("  carbon: unchanged, ")
    assert newest[2].startswith(f"{run_of(before)}  ")
    told = fleet.events_of("logs", run_of(again))
    assert [event["event"] for event in told.events] == [event["event"] for event in again.events]
    back = fleet.events_of("rollback", "carbon", "--to", run_of(again))
    assert back.outcomes() == {"carbon": "unchanged"}, back.why()


def test_each_rollback_goes_further_back(fleet: Fleet) -> None:
    """As nixos-rebuild's own, and none adds a generation."""
    systems = [deployed(fleet).hosts["carbon"]["current"] for _ in range(3)]
    generations = "ls -d /nix/var/nix/profiles/system-*-link"
    before = fleet["carbon"].shell(generations)
    for earlier in (systems[1], systems[0]):
        back = fleet.events_of("rollback", "carbon")
        assert (back.returncode, back.outcomes()) == (0, {"carbon": "rolled_back"}), back.why()
        state = state_of(fleet["carbon"])
        assert state.running == state.boot_default == earlier
    assert fleet["carbon"].shell(generations) == before


def test_back_to_what_a_run_had_left(fleet: Fleet) -> None:
    """`rollback --to RUN` goes there guarded; what was collected since is refused by name."""
    first = deployed(fleet)
    second = deployed(fleet)
    generations = "ls -d /nix/var/nix/profiles/system-*-link"
    before = fleet["carbon"].shell(generations)
    back = fleet.events_of("rollback", "carbon", "--to", run_of(first))
    assert (back.returncode, back.outcomes()) == (0, {"carbon": "rolled_back"}), back.why()
    assert fleet["carbon"].shell(generations) == before
    state = state_of(fleet["carbon"])
    assert state.running == state.boot_default == first.hosts["carbon"]["current"]
    assert back.find(stage="smoke", event="stage_finished")
    gone = second.hosts["carbon"]["current"]
    fleet["carbon"].shell(
        f"rm -f /nix/var/nix/gcroots/orchestrate/{run_of(second)}\n"
        "for link in /nix/var/nix/profiles/system-*-link; do\n"
        f'  if [ "$(readlink -f "$link")" = {gone} ]; then rm "$link"; fi\n'
        "done\n"
        f"nix-store --delete {gone}\n"
    )
    refused = fleet.events_of("rollback", "carbon", "--to", run_of(second))
    assert refused.returncode == 3
    assert refused.outcomes() == {"carbon": "skipped"}
    assert f"{gone} is not in its store any more" in refused.hosts["carbon"]["message"]
    assert state_of(fleet["carbon"]).running == state.running
