"""A deployment that goes well: the first one, the one with nothing to do, a change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import BUILDERS, TARGETS, Fleet, parse

if TYPE_CHECKING:
    from tests.fleet.conftest import FirstDeployment

pytestmark = pytest.mark.lab

EVERYWHERE = (*TARGETS, *BUILDERS)


def test_first_deployment_deploys_every_machine(first_deployment: FirstDeployment) -> None:
    """Four machines without any NixOS system get one each, and the run says so last."""
    deployment = first_deployment.deployment
    assert deployment.returncode == 0, deployment.why()
    assert deployment.events[-1]["event"] == "run_finished"
    assert deployment.outcomes() == dict.fromkeys(TARGETS, "deployed")


def test_result_is_what_the_hosts_say(first_deployment: FirstDeployment) -> None:
    """The reported system is the one that runs, and the one that the next boot gives."""
    for name, result in first_deployment.deployment.hosts.items():
        state = first_deployment.after[name]
        assert first_deployment.before[name].running == "", name
        assert result["previous"] is None
        assert (state.running, state.boot_default) == (result["current"], result["current"])
        assert state.greeting == "hello"
        assert not state.rollback_armed


def test_each_machine_infers_on_the_backend_of_its_variant(
    first_deployment: FirstDeployment,
) -> None:
    """Three machines infer on the CPU, the pinned one on Vulkan, each at some speed."""
    hosts = first_deployment.deployment.hosts
    backends = {name: result["backend"] for name, result in hosts.items()}
    assert backends == dict.fromkeys(TARGETS, "CPU") | {"nitrogen": "Vulkan"}
    assert all(result["tokens_per_second"] > 0 for result in hosts.values())


def test_every_event_says_when_where_and_what(first_deployment: FirstDeployment) -> None:
    """Each line of JSON has time, run, host, stage and event; all are of one run."""
    events = first_deployment.deployment.events
    assert all({"ts", "run", "host", "stage", "event"} <= event.keys() for event in events)
    assert len({event["run"] for event in events}) == 1


def test_each_distinct_package_is_built_once(first_deployment: FirstDeployment) -> None:
    """Three machines share one llama package: it is built once, on one builder."""
    built = [
        event["report"]["output"]
        for event in first_deployment.deployment.find(stage="build", event="stage_finished")
    ]
    llamas = [output for output in built if "llama-cpp" in output]
    assert len(llamas) == len(set(llamas)) == 2
    assert len(built) == len(set(built)) == 2 + len(TARGETS)
    assert len(first_deployment.builds) == 2 + len(TARGETS)


def test_machines_are_reached_as_the_inventory_says(first_deployment: FirstDeployment) -> None:
    """Beryllium lets in its deploying user alone, and boron only who comes from carbon."""
    fleet = first_deployment.fleet
    lets_in = fleet["beryllium"].shell("journalctl --unit=ssh --output=cat | grep Accepted")
    assert "for deploy from" in lets_in
    assert "for root from" not in lets_in
    carbon = set(fleet["carbon"].addresses)
    lets_in = fleet["boron"].shell("journalctl --unit=ssh --output=cat | grep Accepted")
    assert {line.split(" from ")[1].split()[0] for line in lets_in.splitlines()} <= carbon
    direct = fleet.controller.run(["ping", "-c1", "-W1", fleet["boron"].address], check=False)
    assert direct.returncode != 0


def test_second_deployment_touches_nothing(fleet: Fleet) -> None:
    """With nothing changed no host is touched, no process started, no stage after evaluate."""
    fleet.deploy_json()
    before = fleet.states(EVERYWHERE)
    process = fleet.start("deploy", "fleet", "--json")
    seen: set[str] = set()
    while process.poll() is None:
        seen.update(fleet.processes())
    output, said = process.communicate()
    again = parse(output, process.returncode, said)
    assert again.returncode == 0, again.why()
    assert again.outcomes() == dict.fromkeys(TARGETS, "unchanged")
    assert {event["stage"] for event in again.events} <= {"facts", "variant", "evaluate", ""}
    assert not [line for line in seen if "tasks.worker" in line or "valkey" in line]
    assert fleet.states(EVERYWHERE) == before


def test_change_reaches_every_machine(fleet: Fleet) -> None:
    """A changed flake gives every machine a new system, from the one it ran before."""
    before = fleet.states()
    greeting = fleet.change()
    deployment = fleet.deploy_json()
    assert deployment.outcomes() == dict.fromkeys(TARGETS, "deployed"), deployment.why()
    for name, state in fleet.states().items():
        assert state.greeting == greeting
        assert deployment.hosts[name]["previous"] == before[name].running
        assert state.running == state.boot_default == deployment.hosts[name]["current"]
