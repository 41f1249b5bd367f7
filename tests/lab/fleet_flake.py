"""A user's flake with four machines or more, written where a test can change it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

HERE = Path(__file__).parent
NIXOS_STANDIN = HERE / "nixos"
LLAMA_CPP_STANDIN = HERE / "llama-cpp"
FLEET_FLAKE = HERE / "fleet-flake"

Fault = Literal["crash", "garbage", "hang", "held", "no-backend", "not-offloaded", "slow"]


def write_fleet_flake(  # noqa: PLR0913 - each keyword is one thing that a test changes
    directory: Path,
    *,
    greeting: str = "hello",
    failing: Collection[str] = (),
    hanging: Collection[str] = (),
    broken: Mapping[str, Fault] | None = None,
    extra: Mapping[str, str] | None = None,
    further: Collection[str] = (),
    nixpkgs: Path = NIXOS_STANDIN,
) -> Path:
    """Write the flake or bring it to these settings, tracked by git; give its directory.

    Args:
        directory: Made if missing; a second call changes what differs.
        greeting: In every machine's /etc and greeter: another one, another toplevel.
        failing: The machines whose greeter fails, so that the switch ends with 4.
        hanging: The machines whose activation never ends.
        broken: The machines that get a bad llama.cpp, and how it is bad.
        extra: A NixOS module of its own for a machine, as Nix text.
        further: The names of more machines: servers, as boron is one.
        nixpkgs: The stand-in, as the machine that evaluates sees it.
    """
    shutil.copytree(FLEET_FLAKE, directory, dirs_exist_ok=True)
    template = (FLEET_FLAKE / "flake.nix").read_text()
    (directory / "flake.nix").write_text(template.replace("@nixpkgs@", f"path:{nixpkgs}"))
    settings = {
        "greeting": greeting,
        "failing": sorted(failing),
        "hanging": sorted(hanging),
        "broken": dict(broken or {}),
        "further": list(further),
    }
    (directory / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    for name in further:
        shutil.copy(directory / "machines" / "boron.nix", directory / "machines" / f"{name}.nix")
    _write_extra(directory / "extra", extra or {})
    track(directory)
    return directory


def copy_standin(directory: Path) -> Path:
    """Copy the stand-in for nixpkgs to a place that another machine sees too."""
    return Path(shutil.copytree(NIXOS_STANDIN, directory, dirs_exist_ok=True))


def track(directory: Path) -> None:
    """Make git track every file, for a flake in a repository has no others."""
    if not (directory / ".git").exists():
        subprocess.run(
            ("git", "init", "--quiet", "--initial-branch=main"), cwd=directory, check=True
        )
    subprocess.run(("git", "add", "--all"), cwd=directory, check=True)


def _write_extra(directory: Path, modules: Mapping[str, str]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    for machine, module in modules.items():
        directory.mkdir(exist_ok=True)
        (directory / f"{machine}.nix").write_text(module)
