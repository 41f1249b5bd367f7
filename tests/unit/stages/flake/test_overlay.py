"""The variants as an overlay, instantiated by Nix on the lab's stand-in for nixpkgs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from orchestrator.model.variant import Variant
from tests import ROOT

if TYPE_CHECKING:
    from pathlib import Path
from tests.lab.fleet_flake import LLAMA_CPP_STANDIN, NIXOS_STANDIN
from tests.lab.llama_source import llama_source

OVERLAY = ROOT / "flake-template" / "overlay.nix"
UPSTREAM_TREES = ["stand-in", "real"]
NIXPKGS = 'source = "nixpkgs";'
CUDA_ACCEPTED = 'acceptedLicences = [ "cuda" ];'

pytestmark = pytest.mark.skipif(
    shutil.which("nix") is None, reason="nix is not on PATH; the lab has one"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a place for one store: what a test instantiates is no other's business."""
    return tmp_path_factory.mktemp("overlay")


def evaluate(
    directory: Path, expression: str, arguments: str = "", *, tree: Path = LLAMA_CPP_STANDIN
) -> subprocess.CompletedProcess[str]:
    """Evaluate a function of the packages that the overlay makes, with a store of its own.

    Args:
        directory: for the store.
        expression: what is wanted, of `pkgs`.
        arguments: more of the overlay's arguments, as Nix text.
        tree: llama.cpp's source.
    """
    text = f"""
      let
        overlay = import {OVERLAY} {{ llama-cpp = "{tree}"; {arguments} }};
        with_ = config: import {NIXOS_STANDIN} {{
          system = "x86_64-linux"; inherit config; overlays = [ overlay ];
        }};
        pkgs = with_ {{ }};
        unfree = with_ {{ allowUnfree = true; }};
      in {expression}
    """
    environment = os.environ | {
        "NIX_REMOTE": f"local?root={directory / 'store-root'}",
        "NIX_CONFIG": "experimental-features = nix-command\nsubstituters =\n"
        "fsync-metadata = false\n",
        "XDG_CACHE_HOME": str(directory / "cache"),
    }
    return subprocess.run(
        ["nix", "eval", "--impure", "--json", "--expr", text],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def value(directory: Path, expression: str, arguments: str = "", **more: Path) -> object:
    """Give what an expression is."""
    done = evaluate(directory, expression, arguments, **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def flags(directory: Path, package: str, arguments: str = "", **more: Path) -> dict[str, str]:
    """Give what CMake makes of a package's flags: of several, the last."""
    said = value(directory, f"{package}.cmakeFlags", arguments, **more)
    assert isinstance(said, list)
    return dict(re.findall(r"-D(\w+):\w+=(.*)", "\n".join(said)))


@pytest.mark.parametrize("tree", UPSTREAM_TREES)
@pytest.mark.parametrize("arguments", ["", NIXPKGS], ids=["upstream", "nixpkgs"])
def test_every_attribute_instantiates(store: Path, tree: str, arguments: str) -> None:
    """Each variant is a derivation, from upstream's own tree and from nixpkgs' package."""
    source = llama_source() if tree == "real" else LLAMA_CPP_STANDIN
    names = " ".join(f'"{variant.attribute}"' for variant in Variant)
    expression = f"unfree.lib.genAttrs [ {names} ] (name: unfree.${{name}}.drvPath)"
    made = value(store, expression, arguments, tree=source)
    assert isinstance(made, dict)
    assert set(made) == {variant.attribute for variant in Variant}
    # MPI is the same package as without it where the source knows none.
    assert len(set(made.values())) >= len(Variant) - 4


@pytest.mark.parametrize(
    ("variant", "backends"),
    [
        (Variant.CPU, set()),
        (Variant.VULKAN, {"GGML_VULKAN"}),
        (Variant.CUDA, {"GGML_CUDA"}),
        (Variant.ROCM, {"GGML_HIP"}),
        (Variant.RPC, {"GGML_RPC"}),
        (Variant.RPC_CUDA, {"GGML_RPC", "GGML_CUDA"}),
        (Variant.MPI_CUDA, {"GGML_CUDA"}),
    ],
)
@pytest.mark.parametrize("arguments", ["", NIXPKGS], ids=["upstream", "nixpkgs"])
def test_a_variant_has_its_backends(
    store: Path, variant: Variant, backends: set[str], arguments: str
) -> None:
    """Whatever the source calls its switches, CMake is told the same."""
    said = flags(store, f"unfree.{variant.attribute}", arguments)
    known = {"GGML_VULKAN", "GGML_CUDA", "GGML_HIP", "GGML_RPC"}
    assert {name for name in known if said[name] == "TRUE"} == backends
    assert said["GGML_CPU_ALL_VARIANTS"] == "TRUE"


def test_the_package_of_nixpkgs_is_the_users(store: Path) -> None:
    """It is the version that the pkgs have, and llama.cpp's own tree isn't read."""
    missing = store / "no-llama-cpp"
    assert value(store, "pkgs.llama-cpp-vulkan.version", NIXPKGS, tree=missing) == "9842"


@pytest.mark.parametrize(
    ("variant", "own"),
    [(Variant.CPU, "llama-cpp"), (Variant.VULKAN, "llama-cpp.override { vulkanSupport = true; }")],
)
def test_the_package_of_nixpkgs_stays_in_its_cache(store: Path, variant: Variant, own: str) -> None:
    """What nixpkgs does by itself is not said again: the derivation is its very own."""
    plain = f'(import {NIXOS_STANDIN} {{ system = "x86_64-linux"; }})'
    both = f"[ pkgs.{variant.attribute}.drvPath (with {plain}; {own}).drvPath ]"
    made = value(store, both, NIXPKGS)
    assert isinstance(made, list)
    assert made[0] == made[1]


def test_what_a_source_does_not_know_is_told_of(store: Path) -> None:
    """Nixpkgs' package has no MPI: it is built without, with a warning."""
    done = evaluate(store, "pkgs.llama-cpp-mpi-cpu.drvPath", NIXPKGS)
    assert done.returncode == 0, done.stderr
    assert "llama-cpp of nixpkgs does not know useMpi: built without" in done.stderr


@pytest.mark.parametrize("arguments", ["", NIXPKGS], ids=["upstream", "nixpkgs"])
@pytest.mark.parametrize("name", ["cudaSupport", "useCuda"])
def test_override_takes_either_name(store: Path, name: str, arguments: str) -> None:
    """Other packages of nixpkgs, and upstream's users, say the switch in their own words."""
    said = flags(store, f"(unfree.llama-cpp-cpu.override {{ {name} = true; }})", arguments)
    assert said["GGML_CUDA"] == "TRUE"


@pytest.mark.parametrize("arguments", ["", NIXPKGS], ids=["upstream", "nixpkgs"])
def test_rocm_is_narrowed_whatever_the_argument_is(store: Path, arguments: str) -> None:
    """The targets are a text upstream and a list in nixpkgs; CMake gets the same."""
    narrowed = f'{arguments} rocmGpuTargets = [ "gfx1030" "gfx1100" ];'
    said = flags(store, "pkgs.llama-cpp-rocm", narrowed)
    assert said["CMAKE_HIP_ARCHITECTURES"] == "gfx1030;gfx1100"


@pytest.mark.parametrize("arguments", ["", NIXPKGS], ids=["upstream", "nixpkgs"])
def test_extreme_cpu_is_for_builders_that_run_its_code(store: Path, arguments: str) -> None:
    """The level is in env and asked of the builder, and no other backend is compiled."""
    extreme = f'{arguments} march = "x86-64-v3"; cpuFeatures = [ "AVX2" ];'
    package = "pkgs.llama-cpp-extreme-cpu"
    said = flags(store, package, extreme)
    assert (said["GGML_AVX2"], said["GGML_AVX512"]) == ("TRUE", "FALSE")
    assert "GGML_CPU_ALL_VARIANTS" not in said
    assert value(store, f"{package}.env.NIX_CFLAGS_COMPILE", extreme) == " -march=x86-64-v3"
    asked = value(store, f"{package}.requiredSystemFeatures", extreme)
    assert asked == ["llama-deb", "gccarch-x86-64-v3"]


def test_march_is_never_native(store: Path) -> None:
    """One derivation would be another binary on every builder."""
    done = evaluate(store, "pkgs.llama-cpp-extreme-cpu.drvPath", 'march = "native";')
    assert done.returncode != 0


@pytest.mark.parametrize("variant", [Variant.CUDA, Variant.MPI_CUDA, Variant.RPC_CUDA])
@pytest.mark.parametrize("arguments", ["", NIXPKGS], ids=["upstream", "nixpkgs"])
def test_cuda_without_its_licence_is_refused(store: Path, variant: Variant, arguments: str) -> None:
    """The error names the licence, and the variable that accepts it."""
    done = evaluate(store, f"pkgs.{variant.attribute}.drvPath", arguments)
    assert done.returncode != 0
    last = done.stderr.rstrip().splitlines()[-1]
    assert "error: the licence of CUDA (CUDA EULA) is not accepted" in last
    assert "orchestrate_accept_licences: [cuda]" in last


@pytest.mark.parametrize("variant", [Variant.CUDA, Variant.MPI_CUDA, Variant.RPC_CUDA])
@pytest.mark.parametrize("arguments", ["", NIXPKGS], ids=["upstream", "nixpkgs"])
def test_an_accepted_licence_changes_nothing_else(
    store: Path, variant: Variant, arguments: str
) -> None:
    """The package is the one that allowUnfree would give."""
    accepted = f"{arguments} {CUDA_ACCEPTED}"
    both = f"[ pkgs.{variant.attribute}.drvPath unfree.{variant.attribute}.drvPath ]"
    made = value(store, both, accepted)
    assert isinstance(made, list)
    assert made[0] == made[1]


def test_no_other_unfree_package_gets_in(store: Path) -> None:
    """Accepting CUDA leaves the user's packages as strict as they were."""
    unfree = (
        '(pkgs.stdenv.mkDerivation { pname = "secret"; version = "1"; '
        "meta.license = pkgs.lib.licenses.unfree; }).drvPath"
    )
    for expression in (unfree, "pkgs.cudaPackages.cuda_cudart.drvPath"):
        done = evaluate(store, expression, CUDA_ACCEPTED)
        assert "has an unfree license" in done.stderr
        assert done.returncode != 0


def test_the_users_own_predicate_still_counts(store: Path) -> None:
    """Who allows CUDA by a predicate of their own needs no variable."""
    config = '{ allowUnfreePredicate = p: p.meta.license.shortName == "CUDA EULA"; }'
    assert value(store, f"(with_ {config}).llama-cpp-cuda.drvPath")


def test_the_web_interface_is_built_only_where_wanted(store: Path) -> None:
    """Upstream's npm build is an input of the package with it, and of none without."""
    real = llama_source()
    package = "pkgs.llama-cpp-cpu"
    assert flags(store, package, tree=real)["LLAMA_BUILD_WEBUI"] == "TRUE"
    assert value(store, f"{package}.webui != null", tree=real)
    without = "useWebUi = false;"
    said = flags(store, package, without, tree=real)
    assert (said["LLAMA_BUILD_WEBUI"], said["LLAMA_USE_PREBUILT_UI"]) == ("FALSE", "FALSE")
    assert value(store, f"{package}.webui == null", without, tree=real)
    overridden = f"({package}.override {{ useWebUi = false; }})"
    assert flags(store, overridden, tree=real) == said
    assert value(store, f"{overridden}.webui == null", tree=real)
