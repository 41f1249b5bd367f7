"""The flake template, evaluated by Nix itself on the lab's stand-in for nixpkgs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from inventory.host import (
    Connection,
    Fleet,
    Host,
    Inventory,
    Licence,
    LlamaSource,
    TargetScope,
)
from orchestrator.model.variant import Variant, VariantChoice
from orchestrator.stages.flake.flake import write_flake
from tests import ROOT

LAB = ROOT / "tests/lab"
STORE_PATH = re.compile(r"/nix/store/[a-z0-9]{32}-(.*)")

pytestmark = pytest.mark.skipif(
    shutil.which("nix") is None, reason="nix is not on PATH; the lab has one"
)

USER_FLAKE = """
{
  inputs.nixpkgs.url = "path:NIXPKGS";
  outputs = { nixpkgs, ... }: {
    nixosConfigurations."carbon.home" = nixpkgs.lib.nixosSystem {
      modules = [
        {
          nixpkgs.hostPlatform = "x86_64-linux";
          nixpkgs.config.allowUnfree = true;
          EXTRA
        }
      ];
    };
  };
}
"""


def environment(directory: Path) -> dict[str, str]:
    """Give what makes nix use a store of its own, without a network."""
    return {
        "NIX_REMOTE": f"local?root={directory / 'store-root'}",
        "NIX_CONFIG": "experimental-features = nix-command flakes\n"
        "substituters =\nflake-registry =\n",
        "XDG_CACHE_HOME": str(directory / "cache"),
    }


def nix(
    directory: Path, *arguments: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run nix with a store of its own, without a network."""
    return subprocess.run(
        ["nix", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment(directory),
        cwd=cwd,
    )


def user_flake(directory: Path, extra: str = "") -> Path:
    """Write a user's flake with one machine on the stand-in."""
    user = directory / "user"
    user.mkdir()
    text = USER_FLAKE.replace("NIXPKGS", str(LAB / "nixos")).replace("EXTRA", extra)
    (user / "flake.nix").write_text(text)
    return user


def written(
    directory: Path,
    user: Path,
    choice: VariantChoice | None,
    llama_cpp: Path = LAB / "llama-cpp",
) -> Path:
    """Write the wrapper around it for one choice."""
    host = Host("carbon", Connection("carbon"), nixos_name="carbon.home")
    fleet = Fleet(flake=str(user), llama_cpp=str(llama_cpp))
    inventory = Inventory("inventory.yml", (host,), {}, fleet)
    return write_flake(directory / "flake", inventory, [choice] if choice else [])


def derivations(directory: Path, *installables: str) -> list[str]:
    """Instantiate and give the derivations, in the order asked."""
    options = ("--dry-run", "--json", "--no-link")
    done = nix(directory, "build", *options, *installables)
    assert done.returncode == 0, done.stderr
    return [row["drvPath"] for row in json.loads(done.stdout)]


def cmake_flags(directory: Path, derivation: str) -> str:
    """Read a derivation's flags, whatever shape this Nix prints it in."""
    done = nix(directory, "derivation", "show", derivation)
    found = re.search(r'"cmakeFlags":\s*"([^"]*)"', done.stdout)
    assert found, done.stderr
    return found[1]


@pytest.mark.parametrize("variant", list(Variant))
def test_every_variant_instantiates(tmp_path: Path, variant: Variant) -> None:
    """Each variant becomes a system and a package of which the system is made."""
    flake = written(tmp_path, user_flake(tmp_path), VariantChoice("carbon", variant, "tried"))
    toplevel, llama = derivations(
        tmp_path,
        f'path:{flake}#orchestrate."carbon".toplevel',
        f'path:{flake}#orchestrate."carbon".llama',
    )
    assert "llama-cpp" in STORE_PATH.sub(r"\1", llama)
    inputs = nix(tmp_path, "derivation", "show", toplevel).stdout
    recursive = nix(tmp_path, "derivation", "show", "--recursive", toplevel).stdout
    assert Path(llama).name in inputs or Path(llama).name in recursive


def test_a_host_without_a_variant_keeps_its_very_derivation(tmp_path: Path) -> None:
    """The wrapper around nothing changes nothing."""
    user = user_flake(tmp_path)
    flake = written(tmp_path, user, None)
    attribute = 'nixosConfigurations."carbon.home".config.system.build.toplevel'
    ours, theirs = derivations(
        tmp_path, f'path:{flake}#orchestrate."carbon".toplevel', f"path:{user}#{attribute}"
    )
    assert ours == theirs


def test_the_service_takes_the_package_of_the_hardware(tmp_path: Path) -> None:
    """services.llama-cpp runs the variant, unless the user names a package for it."""
    extra = 'services.llama-cpp = { enable = true; model = "/models/a.gguf"; };'
    user = user_flake(tmp_path, extra)
    flake = written(tmp_path, user, VariantChoice("carbon", Variant.VULKAN, "tried"))
    service = 'nixosConfigurations."carbon".config.services.llama-cpp.package'
    ours, llama = derivations(
        tmp_path, f"path:{flake}#{service}", f'path:{flake}#orchestrate."carbon".llama'
    )
    assert ours == llama


def test_cpu_code_is_chosen_at_run_time(tmp_path: Path) -> None:
    """The plain CPU build carries every backend instead of the SSE2 baseline."""
    flake = written(tmp_path, user_flake(tmp_path), VariantChoice("carbon", Variant.CPU, "tried"))
    (llama,) = derivations(tmp_path, f'path:{flake}#orchestrate."carbon".llama')
    flags = cmake_flags(tmp_path, llama)
    assert "-DGGML_BACKEND_DL:BOOL=TRUE -DGGML_CPU_ALL_VARIANTS:BOOL=TRUE" in flags
    assert "-DGGML_NATIVE:BOOL=TRUE" not in flags


def test_extreme_cpu_says_every_feature(tmp_path: Path) -> None:
    """What the CPU has is on, what it lacks is off, and nothing is chosen at run time."""
    choice = VariantChoice("carbon", Variant.EXTREME_CPU, "tried", cpu_features=("AVX2", "FMA"))
    flake = written(tmp_path, user_flake(tmp_path), choice)
    (llama,) = derivations(tmp_path, f'path:{flake}#orchestrate."carbon".llama')
    flags = cmake_flags(tmp_path, llama)
    assert "-DGGML_AVX2:BOOL=TRUE" in flags
    assert "-DGGML_AVX512:BOOL=FALSE" in flags
    assert "-DGGML_CPU_ALL_VARIANTS" not in flags


@pytest.mark.parametrize(
    ("choice", "flag"),
    [
        (
            VariantChoice("carbon", Variant.CUDA, "tried", cuda_capabilities=("8.6", "8.9")),
            "-DCMAKE_CUDA_ARCHITECTURES:STRING=86;89",
        ),
        (
            VariantChoice("carbon", Variant.ROCM, "tried", rocm_gfx_targets=("gfx1100",)),
            "-DCMAKE_HIP_ARCHITECTURES:STRING=gfx1100",
        ),
    ],
)
def test_gpu_builds_are_narrowed_to_the_gpus(
    tmp_path: Path, choice: VariantChoice, flag: str
) -> None:
    """The last word to CMake is the GPUs that the machine has."""
    flake = written(tmp_path, user_flake(tmp_path), choice)
    (llama,) = derivations(tmp_path, f'path:{flake}#orchestrate."carbon".llama')
    flags = re.findall(rf"{flag.partition('=')[0]}=\S*", cmake_flags(tmp_path, llama))
    assert flags[-1] == flag


@pytest.mark.parametrize(
    ("scope", "packages"), [(TargetScope.PER_FLEET, 1), (TargetScope.PER_HOST, 2)]
)
def test_hosts_of_one_variant_have_one_package(
    tmp_path: Path, scope: TargetScope, packages: int
) -> None:
    """Two CUDA machines, 8.6 and 8.9, are one llama derivation, or two if told so."""
    names = ("carbon", "nitrogen")
    hosts = tuple(Host(name, Connection(name), nixos_name="carbon.home") for name in names)
    fleet = Fleet(
        flake=str(user_flake(tmp_path)), llama_cpp=str(LAB / "llama-cpp"), gpu_targets=scope
    )
    choices = [
        VariantChoice(name, Variant.CUDA, "tried", cuda_capabilities=(capability,))
        for name, capability in zip(names, ("8.6", "8.9"), strict=True)
    ]
    inventory = Inventory("inventory.yml", hosts, {}, fleet)
    flake = write_flake(tmp_path / "flake", inventory, choices)
    wanted = [f'path:{flake}#orchestrate."{name}".llama' for name in names]
    assert len(set(derivations(tmp_path, *wanted))) == packages


def test_the_fleet_can_have_the_package_of_nixpkgs(tmp_path: Path) -> None:
    """The host's package is its own pkgs.llama-cpp, with the GPUs that were found."""
    choice = VariantChoice(
        "carbon",
        Variant.RPC_CUDA,
        "tried",
        cuda_capabilities=("8.9",),
        source=LlamaSource.NIXPKGS,
    )
    flake = written(tmp_path, user_flake(tmp_path), choice)
    (llama,) = derivations(tmp_path, f'path:{flake}#orchestrate."carbon".llama')
    assert STORE_PATH.sub(r"\1", llama) == "llama-cpp-9842.drv"
    flags = cmake_flags(tmp_path, llama)
    assert "-DGGML_RPC:BOOL=TRUE" in flags
    assert flags.endswith("-DCMAKE_CUDA_ARCHITECTURES:STRING=89")


def test_the_licence_of_cuda_is_accepted_for_the_fleet(tmp_path: Path) -> None:
    """Without allowUnfree the variable decides, and its absence names it."""
    user = user_flake(tmp_path)
    text = (user / "flake.nix").read_text()
    (user / "flake.nix").write_text(text.replace("nixpkgs.config.allowUnfree = true;", ""))
    host = Host("carbon", Connection("carbon"), nixos_name="carbon.home")
    choice = VariantChoice("carbon", Variant.CUDA, "tried", cuda_capabilities=("8.9",))
    fleet = Fleet(flake=str(user), llama_cpp=str(LAB / "llama-cpp"))
    strict = Inventory("inventory.yml", (host,), {}, fleet)
    flake = write_flake(tmp_path / "flake", strict, [choice])
    done = nix(tmp_path, "build", "--dry-run", f'path:{flake}#orchestrate."carbon".llama')
    assert "the licence of CUDA (CUDA EULA) is not accepted" in done.stderr
    accepting = replace(strict, fleet=replace(fleet, accept_licences=(Licence.CUDA,)))
    write_flake(tmp_path / "flake", accepting, [choice])
    assert derivations(tmp_path, f'path:{flake}#orchestrate."carbon".toplevel')


def test_a_machine_that_the_flake_lacks_is_named(tmp_path: Path) -> None:
    """The error says which attribute is missing and which variable sets it."""
    user = user_flake(tmp_path)
    (user / "flake.nix").write_text((user / "flake.nix").read_text().replace(".home", ".office"))
    flake = written(tmp_path, user, VariantChoice("carbon", Variant.CPU, "tried"))
    done = nix(tmp_path, "build", "--dry-run", f'path:{flake}#orchestrate."carbon".toplevel')
    assert done.returncode != 0
    assert 'no nixosConfigurations."carbon.home" for the host carbon' in done.stderr
    assert "orchestrate_nixos_name" in done.stderr
