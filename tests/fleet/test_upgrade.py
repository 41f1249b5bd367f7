"""Newer inputs for the fleet: their lock stays where the rollout succeeds, and only there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.workspace import workspace_for
from tests.fleet.fleet import Fleet, kill, read_until, state_of
from tests.lab.fleet_flake import LLAMA_CPP_STANDIN, copy_standin, write_fleet_flake

if TYPE_CHECKING:
    from tests.fleet.fleet import Deployment

pytestmark = pytest.mark.lab

NAME = "carbon"


@dataclass(frozen=True)
class Moving:
    """A fleet whose llama.cpp is a source tree that a test changes."""

    fleet: Fleet
    source: Path
    project: Path

    def release(self, version: str, broken: str = "") -> None:
        """Make the source tree another version, which crashes if it is to."""
        shutil.copytree(LLAMA_CPP_STANDIN, self.source, dirs_exist_ok=True)
        file = self.source / ".devops" / "nix" / "package.nix"
        text = file.read_text().replace("version = llamaVersion", f'version = "{version}"')
        if broken:
            text = text.replace("config.brokenLlamaCli or null", f'"{broken}"')
        file.write_text(text)

    @property
    def lock(self) -> bytes:
        """The fleet's flake.lock."""
        return (self.project / "flake" / "flake.lock").read_bytes()

    @property
    def forks(self) -> list[Path]:
        """The locks of runs that have not ended."""
        return sorted(self.project.glob("upgrade-*"))


@pytest.fixture
def moving(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Moving:
    """Return a fleet with a llama.cpp of its own, deployed to carbon."""
    monkeypatch.setenv("XDG_STATE_HOME", str(fleet.controller.env["XDG_STATE_HOME"]))
    source = tmp_path / "llama-cpp"
    own = fleet.with_vars({"orchestrate_llama_cpp": str(source)})
    made = Moving(own, source, workspace_for(own.inventory).directory)
    made.release("1.0.0")
    deployed = own.deploy_json(NAME)
    assert deployed.outcomes()[NAME] in ("deployed", "unchanged"), deployed.why()
    return made


def settled(deployment: Deployment) -> str:
    """Return what was printed about the lock."""
    (event,) = deployment.find(event="lock_settled")
    return str(event["message"])


def test_a_good_upgrade_keeps_its_lock(moving: Moving) -> None:
    """It says what changes, in versions and bytes; the next deployment has nothing to do."""
    before = moving.lock
    moving.release("1.1.0")
    assert moving.fleet.deploy_json(NAME).outcomes() == {NAME: "unchanged"}
    deployment = moving.fleet.events_of("upgrade", NAME)
    assert deployment.outcomes() == {NAME: "deployed"}, deployment.why()
    assert settled(deployment) == "every host ended well: the new lock of llama-cpp stays"
    (locked,) = deployment.find(event="input_locked")
    assert locked["before"] != locked["after"]
    (change,) = deployment.find(event="upgrades", host=NAME)
    assert change["message"] == "llama-cpp-blas-1.0.0 → llama-cpp-blas-1.1.0"
    (size,) = deployment.find(event="closure_size", host=NAME)
    assert size["before"] > 2**20
    assert size["after"] > 2**20
    assert moving.lock != before
    assert moving.forks == []
    assert moving.fleet.deploy_json(NAME).outcomes() == {NAME: "unchanged"}
    again = moving.fleet.events_of("upgrade", NAME)
    assert (again.returncode, again.outcomes()) == (0, {NAME: "unchanged"})


def test_a_failed_upgrade_leaves_the_old_lock(moving: Moving) -> None:
    """To the byte: the next deployment gives what runs again after the rollback."""
    before, ran = moving.lock, state_of(moving.fleet[NAME]).running
    moving.release("2.0.0", broken="crash")
    deployment = moving.fleet.events_of("upgrade", NAME)
    assert deployment.returncode == 3
    assert deployment.outcomes() == {NAME: "rolled_back"}, deployment.why()
    assert settled(deployment) == "not every host ended well: llama-cpp stays locked as before"
    assert moving.lock == before
    assert moving.forks == []
    assert moving.fleet.deploy_json(NAME).outcomes() == {NAME: "unchanged"}
    assert state_of(moving.fleet[NAME]).running == ran


def test_a_killed_upgrade_leaves_the_old_lock_until_it_is_resumed(moving: Moving) -> None:
    """A deployment in between gets the old one; a run that then ends well keeps its own."""
    before = moving.lock
    moving.release("3.0.0")
    process = moving.fleet.start("upgrade", NAME, "--json")
    read_until(process, stage="switch", event="stage_started")
    kill(process)
    assert moving.lock == before
    assert len(moving.forks) == 1
    resumed = moving.fleet.events_of("resume")
    assert resumed.outcomes() == {NAME: "deployed"}, resumed.why()
    assert settled(resumed) == "every host ended well: the new lock of llama-cpp stays"
    assert moving.lock != before
    assert moving.forks == []
    assert moving.fleet.deploy_json(NAME).outcomes() == {NAME: "unchanged"}


def test_the_lock_of_a_builder_that_evaluates(moving: Moving, tmp_path: Path) -> None:
    """Where a builder evaluates, its lock is kept or left in the same way."""
    flake = tmp_path / "machines"
    copy_standin(flake / "nixpkgs")
    write_fleet_flake(flake, greeting="hello by forge", nixpkgs=Path("./nixpkgs"))
    fleet = moving.fleet.with_vars(
        {"orchestrate_flake": str(flake), "orchestrate_evaluate_on": "forge"}
    )
    project = workspace_for(fleet.inventory).directory.name

    def there(script: str) -> str:
        user = fleet["forge"].spec.user
        place = f"~{user}/.cache/orchestrate/{project}"
        return fleet["forge"].shell(f"cd {place}; {script}")

    deployed = fleet.deploy_json(NAME)
    assert deployed.outcomes() == {NAME: "deployed"}, deployed.why()
    before = there("cat flake/flake.lock")
    moving.release("4.0.0", broken="crash")
    failed = fleet.events_of("upgrade", NAME)
    assert failed.outcomes() == {NAME: "rolled_back"}, failed.why()
    assert there("cat flake/flake.lock") == before
    moving.release("4.1.0")
    upgraded = fleet.events_of("upgrade", NAME)
    assert upgraded.outcomes() == {NAME: "deployed"}, upgraded.why()
    assert there("cat flake/flake.lock") != before
    assert there("ls").split() == ["flake", "llama-cpp", "user"]
