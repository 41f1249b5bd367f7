"""`orchestrate flake check` and the inputs' lock, on a fleet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.workspace import workspace_for
from tests.fleet.fleet import TARGETS
from tests.lab.fleet_flake import LLAMA_CPP_STANDIN, copy_standin, write_fleet_flake

if TYPE_CHECKING:
    from tests.fleet.fleet import Fleet

pytestmark = pytest.mark.lab

BROKEN = '{ environment.systemPackages = throw "boron has no luck"; }'
OVERLAY = "{ nixpkgs.overlays = [ (final: prev: { mine = prev.hello; }) ]; }"


def findings(fleet: Fleet, *, returncode: int) -> dict[tuple[str, str], dict[str, Any]]:
    """Check the flake with `--json`, and give what was found by kind and name."""
    done = fleet.orchestrate("flake", "check", "--json", check=False)
    assert done.returncode == returncode, f"{done.stdout}{done.stderr}"
    read = [json.loads(line) for line in done.stdout.splitlines()]
    return {(finding["kind"], finding["name"]): finding for finding in read}


def names(found: dict[tuple[str, str], dict[str, Any]], kind: str) -> set[str]:
    """Return what was found of one kind."""
    return {name for its_kind, name in found if its_kind == kind}


def test_all_is_well(fleet: Fleet) -> None:
    """Every machine, its overlays and every variant of its system evaluate; nothing changes."""
    fleet.change(extra={"carbon": OVERLAY})
    before = fleet.states()
    found = findings(fleet, returncode=0)
    assert names(found, "machine") == set(TARGETS)
    assert found["overlays", "carbon"]["detail"] == "1: mine"
    assert found["overlays", "boron"]["detail"] == "none"
    packages = names(found, "package")
    assert {"x86_64-linux.llama-cpp", "x86_64-linux.llama-cpp-cuda"} <= packages
    assert {finding["state"] for finding in found.values()} == {"ok"}
    shown = fleet.orchestrate("flake", "check").stdout
    assert f"all {len(found)} evaluate" in shown
    assert fleet.states() == before


def test_a_machine_that_does_not_evaluate(fleet: Fleet) -> None:
    """One line names it with Nix's last error; the others are checked all the same."""
    fleet.change(extra={"boron": BROKEN})
    found = findings(fleet, returncode=3)
    failed = {key: finding["detail"] for key, finding in found.items() if finding["state"] != "ok"}
    assert failed == {("machine", "boron"): "boron has no luck"}
    shown = fleet.orchestrate("flake", "check", check=False).stdout
    assert "FAIL    boron: boron has no luck" in shown
    assert f"1 of {len(found)} do not evaluate" in shown
    fleet.change()


def test_a_pin_whose_licence_nobody_accepted(fleet: Fleet) -> None:
    """Before anything is deployed, a CUDA pin says which packages to accept where."""
    fleet.change()
    pinned = fleet.with_vars(
        host_vars={
            "carbon": {"orchestrate_llama_variant": "cuda"},
            "nitrogen": {"orchestrate_deploy": False},
        }
    )
    found = findings(pinned, returncode=3)
    carbon = found["machine", "carbon"]
    assert carbon["state"] == "needs_unfree"
    assert carbon["detail"].startswith("needs unfree: ")
    cuda = found["package", "x86_64-linux.llama-cpp-cuda"]
    assert cuda["state"] == "needs_unfree"
    assert '"cuda_nvcc"' in cuda["hint"]
    assert '"libcublas"' in cuda["hint"]
    assert found["package", "x86_64-linux.llama-cpp-vulkan"]["state"] == "ok"


def test_a_builder_checks_for_a_controller_without_nix(fleet: Fleet, tmp_path: Path) -> None:
    """Where the controller has no Nix a builder evaluates, with the same findings."""
    flake = tmp_path / "machines"
    copy_standin(flake / "nixpkgs")
    write_fleet_flake(flake, extra={"boron": BROKEN}, nixpkgs=Path("./nixpkgs"))
    bare = fleet.with_vars(
        {"orchestrate_flake": str(flake)}, controller=fleet.lab.controller(nix=False)
    )
    found = findings(bare, returncode=3)
    assert found["machine", "boron"]["detail"] == "boron has no luck"
    good = {key for key, finding in found.items() if finding["state"] == "ok"}
    assert set(found) - good == {("machine", "boron")}
    assert "x86_64-linux.llama-cpp-cuda" in names(found, "package")


def test_llama_cpp_moves_when_asked_to(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock file keeps llama.cpp to the byte until `--update-input llama-cpp`."""
    monkeypatch.setenv("XDG_STATE_HOME", str(fleet.controller.env["XDG_STATE_HOME"]))
    llama_cpp = Path(shutil.copytree(LLAMA_CPP_STANDIN, tmp_path / "llama-cpp"))
    moving = fleet.with_vars({"orchestrate_llama_cpp": str(llama_cpp)})
    file = workspace_for(moving.inventory).flake / "flake.lock"

    def lock_after(*options: str) -> str:
        moving.orchestrate("plan", *options)
        return file.read_text()

    locked = lock_after()
    (llama_cpp / "README.md").write_text("another version\n")
    assert lock_after() == locked
    before = json.loads(locked)["nodes"]
    after = json.loads(lock_after("--update-input", "llama-cpp"))["nodes"]
    assert {name for name in after if after[name] != before[name]} == {"llama-cpp"}
    misspelt = moving.orchestrate("plan", "--update-input", "lama-cpp", check=False)
    assert misspelt.returncode == 2
