"""What the generated flake gives besides machines, by Nix itself on the lab's stand-in."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inventory.host import Connection, Fleet, Host, Inventory, Licence
from orchestrator.model.plan import FlakeRef
from orchestrator.model.variant import Variant, VariantChoice
from orchestrator.stages.evaluate.evaluate import lock_flake
from orchestrator.stages.flake.flake import INPUTS, git_work_tree, template_directory, write_flake
from orchestrator.transport.shell import LocalShell
from tests import ROOT
from tests.lab.fleet_flake import track
from tests.unit.stages.flake.test_template import (
    LAB,
    derivations,
    environment,
    nix,
    user_flake,
    written,
)

if TYPE_CHECKING:
    from subprocess import CompletedProcess

X86, ARM = "x86_64-linux", "aarch64-linux"
CHOICE = VariantChoice("carbon", Variant.CPU, "tried")

pytestmark = pytest.mark.skipif(
    shutil.which("nix") is None, reason="nix is not on PATH; the lab has one"
)


def names(directory: Path, flake: Path, attribute: str) -> set[str]:
    """Ask Nix for the names in an attribute set of a flake."""
    done = nix(
        directory, "eval", "--json", f"path:{flake}#{attribute}", "--apply", "builtins.attrNames"
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def evaluated(directory: Path, expression: str) -> CompletedProcess[str]:
    """Evaluate a Nix expression that may read any path."""
    return nix(directory, "eval", "--impure", "--json", "--expr", expression)


@pytest.mark.parametrize("system", [X86, ARM])
def test_every_package_instantiates(tmp_path: Path, system: str) -> None:
    """Each variant that the overlay has for a system is a package there."""
    flake = written(tmp_path, user_flake(tmp_path), CHOICE)
    found = names(tmp_path, flake, f"packages.{system}")
    expected = {variant.attribute for variant in Variant} | {"default"}
    expected -= {"llama-cpp-rocm"} if system == ARM else set()
    assert expected <= found
    assert ("llama-cpp-rocm" in found) == (system == X86)
    # Only a machine of the same system accepts CUDA's licence for it.
    asked = sorted(name for name in found if system == X86 or not name.endswith("-cuda"))
    drvs = derivations(tmp_path, *(f"path:{flake}#packages.{system}.{name}" for name in asked))
    assert len(drvs) == len(asked)
    assert all("llama-cpp" in drv for drv in drvs)


def test_the_scope_is_a_legacy_package(tmp_path: Path) -> None:
    """The scope llamaPackages holds the same llama-cpp as packages does."""
    flake = written(tmp_path, user_flake(tmp_path), CHOICE)
    scoped, package = derivations(
        tmp_path,
        f"path:{flake}#legacyPackages.{X86}.llamaPackages.llama-cpp",
        f"path:{flake}#packages.{X86}.llama-cpp",
    )
    assert scoped == package


def test_a_package_is_what_the_machine_gets(tmp_path: Path) -> None:
    """Where nothing is narrowed, the package of a variant is the machine's very derivation."""
    flake = written(tmp_path, user_flake(tmp_path), CHOICE)
    machine, package = derivations(
        tmp_path,
        f'path:{flake}#orchestrate."carbon".llama',
        f"path:{flake}#packages.{X86}.llama-cpp-cpu",
    )
    assert machine == package


def test_a_refused_licence_refuses_one_package(tmp_path: Path) -> None:
    """Where no machine accepts CUDA's licence, CUDA says so and the others are there."""
    user = user_flake(tmp_path)
    file = user / "flake.nix"
    file.write_text(file.read_text().replace("allowUnfree = true", "allowUnfree = false"))
    flake = written(tmp_path, user, CHOICE)
    done = nix(tmp_path, "build", "--dry-run", f"path:{flake}#packages.{X86}.llama-cpp-cuda")
    assert done.returncode != 0
    assert "CUDA EULA" in done.stderr
    assert derivations(tmp_path, f"path:{flake}#packages.{X86}.llama-cpp-vulkan")


def test_an_accepted_licence_is_enough_for_the_packages(tmp_path: Path) -> None:
    """`orchestrate_accept_licences` gives CUDA's packages where no machine allows unfree ones."""
    user = user_flake(tmp_path)
    file = user / "flake.nix"
    file.write_text(file.read_text().replace("allowUnfree = true", "allowUnfree = false"))
    host = Host("carbon", Connection("carbon"), nixos_name="carbon.home")
    accepting = Fleet(
        flake=str(user), llama_cpp=str(LAB / "llama-cpp"), accept_licences=(Licence.CUDA,)
    )
    inventory = Inventory("inventory.yml", (host,), {}, accepting)
    flake = write_flake(tmp_path / "flake", inventory, [CHOICE])
    assert derivations(tmp_path, f"path:{flake}#packages.{X86}.llama-cpp-cuda")


def test_nixpkgs_under_another_name(tmp_path: Path) -> None:
    """A flake whose nixpkgs has another name gives its machine's pkgs to the packages."""
    user = user_flake(tmp_path)
    file = user / "flake.nix"
    file.write_text(file.read_text().replace("nixpkgs.url", "unstable.url"))
    file.write_text(file.read_text().replace("{ nixpkgs, ... }:", "{ unstable, ... }:"))
    file.write_text(file.read_text().replace("nixpkgs.lib", "unstable.lib"))
    flake = written(tmp_path, user, CHOICE)
    assert derivations(tmp_path, f"path:{flake}#packages.{X86}.llama-cpp-cuda")
    done = nix(tmp_path, "build", "--dry-run", f"path:{flake}#packages.{ARM}.llama-cpp")
    assert f"no machine of the fleet is {ARM}" in done.stderr


def test_the_default_overlay_applies_to_any_pkgs(tmp_path: Path) -> None:
    """overlays.default gives pkgs the variants and changes only names of llama.cpp's."""
    flake = written(tmp_path, user_flake(tmp_path), CHOICE)
    done = evaluated(
        tmp_path,
        f'let f = builtins.getFlake "path:{flake}"; '
        f'pkgs = import {LAB / "nixos"} {{ system = "{X86}"; }}; in '
        "{ one = (pkgs.extend f.overlays.default).llama-cpp-vulkan.name; "
        "all = builtins.attrNames (f.overlays.default pkgs pkgs); }",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["one"].startswith("llama-cpp-vulkan")
    assert all(name.startswith("llama") for name in found["all"])


def home(flake: Path, settings: str) -> str:
    """Give the expression of a home's packages with the module and these settings."""
    return f"""
      let
        f = builtins.getFlake "path:{flake}";
        lib = import {LAB / "nixos/lib"};
        packages.options.home.packages = lib.mkOption {{
          type = lib.types.listOf lib.types.package;
          default = [ ];
        }};
        evaluated = lib.evalModules {{
          specialArgs.pkgs = import {LAB / "nixos"} {{ system = "{X86}"; }};
          modules = [
            packages
            f.homeManagerModules.default
            {{ programs.llama-cpp = {settings}; }}
          ];
        }};
      in
      map (package: package.drvPath) evaluated.config.home.packages
    """


def test_the_home_manager_module(tmp_path: Path) -> None:
    """Home Manager installs the variant that was asked for, and nothing by default."""
    flake = written(tmp_path, user_flake(tmp_path), CHOICE)
    nothing = evaluated(tmp_path, home(flake, "{ }"))
    vulkan = evaluated(tmp_path, home(flake, '{ enable = true; variant = "vulkan"; }'))
    wrong = evaluated(tmp_path, home(flake, '{ enable = true; variant = "cda"; }'))
    (package,) = derivations(tmp_path, f"path:{flake}#packages.{X86}.llama-cpp-vulkan")
    assert json.loads(nothing.stdout) == []
    assert json.loads(vulkan.stdout) == [package]
    assert 'there is no "cda" for x86_64-linux' in wrong.stderr
    assert "llama-cpp-cuda" in wrong.stderr


HARDWARE = """
{ lib, ... }: {
  fileSystems."/" = { device = "/dev/disk/by-uuid/1234"; fsType = "ext4"; };
  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
}
"""


def standalone(directory: Path, keys: str, hardware: str = HARDWARE) -> Path:
    """Make the template of someone without a flake, on the stand-in and with these keys."""
    made = directory / "standalone"
    made.mkdir()
    shutil.copytree(template_directory() / "standalone", made, dirs_exist_ok=True)
    text = (made / "flake.nix").read_text()
    url = "github:NixOS/nixpkgs/nixos-unstable"
    assert url in text
    (made / "flake.nix").write_text(text.replace(url, f"path:{LAB / 'nixos'}"))
    (made / "authorized_keys").write_text(keys)
    if hardware:
        (made / "hardware" / "example.nix").write_text(hardware)
    return made


def test_the_template_evaluates(tmp_path: Path) -> None:
    """A machine of the template is a system as soon as somebody may log in."""
    flake = standalone(tmp_path, "# me\nssh-ed25519 AAAA me@laptop\n")
    toplevel = "nixosConfigurations.example.config.system.build.toplevel"
    (drv,) = derivations(tmp_path, f"path:{flake}#{toplevel}")
    assert "nixos-system-example" in drv


def test_the_template_guesses_no_disk(tmp_path: Path) -> None:
    """A machine whose disks nobody has named does not evaluate, and says what to put where."""
    flake = standalone(tmp_path, "ssh-ed25519 AAAA me@laptop\n", hardware="")
    toplevel = "nixosConfigurations.example.config.system.build.toplevel"
    done = nix(tmp_path, "build", "--dry-run", f"path:{flake}#{toplevel}")
    assert "hardware/example.nix: put in here what nixos-generate-config" in done.stderr


def test_the_template_locks_nobody_out(tmp_path: Path) -> None:
    """Without a key a machine does not evaluate, and says which file is empty."""
    flake = standalone(tmp_path, "# nobody\n")
    toplevel = "nixosConfigurations.example.config.system.build.toplevel"
    done = nix(tmp_path, "build", "--dry-run", f"path:{flake}#{toplevel}")
    assert "authorized_keys holds no key" in done.stderr


def test_the_repository_offers_its_template(tmp_path: Path) -> None:
    """`nix flake init -t <this repository>#fleet` writes flake, machine and inventory."""
    project = tmp_path / "project"
    project.mkdir()
    shutil.copytree(ROOT / "flake-template", project / "flake-template")
    shutil.copy(ROOT / "flake.nix", project)
    made = tmp_path / "made"
    made.mkdir()
    done = nix(tmp_path, "flake", "init", "-t", f"path:{project}#fleet", cwd=made)
    assert done.returncode == 0, done.stderr
    assert git_work_tree(made) is None
    written_files = {str(file.relative_to(made)) for file in made.rglob("*") if file.is_file()}
    assert written_files == {
        "authorized_keys",
        "flake.nix",
        "hardware/example.nix",
        "inventory.yml",
        "machines/example.nix",
    }


@pytest.mark.parametrize("in_git", [False, True])
def test_only_the_users_flake_is_locked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_git: bool
) -> None:
    """Without being asked, llama.cpp stays at what flake.lock says; asked, it moves."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    user = user_flake(tmp_path)
    if in_git:
        # Nothing is committed: as a work tree is while somebody edits it.
        track(user)
    llama_cpp = Path(shutil.copytree(LAB / "llama-cpp", tmp_path / "llama-cpp"))
    flake = written(tmp_path, user, CHOICE, llama_cpp)
    lock_of(flake, ("user",))
    locked = (flake / "flake.lock").read_bytes()

    (llama_cpp / "README.md").write_text("another version")
    lock_of(flake, ("user",))
    assert (flake / "flake.lock").read_bytes() == locked

    (user / "flake.nix").write_text((user / "flake.nix").read_text() + "# changed\n")
    lock_of(flake, ("user",))
    before, after = json.loads(locked)["nodes"], lock_of(flake, ("user",))
    assert all(name in after for name in INPUTS)
    assert after["user"] != before["user"]
    assert {name for name in after if after[name] != before.get(name)} == {"user"}

    moved = lock_of(flake, ("user", "llama-cpp"))
    assert {name for name in moved if moved[name] != after[name]} == {"llama-cpp"}


def lock_of(flake: Path, inputs: tuple[str, ...]) -> dict[str, object]:
    """Lock as a deployment does, and read the nodes of flake.lock."""
    asyncio.run(lock_flake(LocalShell(), FlakeRef(str(flake)), inputs))
    nodes: dict[str, object] = json.loads((flake / "flake.lock").read_text())["nodes"]
    return nodes
