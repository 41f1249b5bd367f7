"""The generated flake: the right bytes, written only where they differ."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from inventory.host import (
    Connection,
    Fleet,
    Host,
    Inventory,
    Licence,
    LlamaSource,
    TargetScope,
)
from orchestrator.errors import UsageError
from orchestrator.model.variant import Variant, VariantChoice
from orchestrator.stages.flake.flake import (
    flake_nix,
    flake_url,
    fleet_json,
    nix_string,
    source_url,
    template_directory,
    write_flake,
)

if TYPE_CHECKING:
    from pathlib import Path

CARBON = Host("carbon", Connection("carbon"), nixos_name="carbon-laptop")
NITROGEN = Host("nitrogen", Connection("nitrogen"), nixos_name="nitrogen")
BUILDER = Host("builder", Connection("builder"), nixos_name="builder", deploy=False)
VULKAN = VariantChoice("carbon", Variant.VULKAN, "AMD gfx1103 → vulkan")
CUDA = VariantChoice("nitrogen", Variant.CUDA, "NVIDIA → cuda", cuda_capabilities=("8.9",))
AMPERE = VariantChoice("carbon", Variant.CUDA, "NVIDIA → cuda", cuda_capabilities=("8.6",))

# What a Nix string or a URL could take for its own: ends, escapes, antiquotes.
HOSTILE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.lists(
    st.sampled_from(["$", "${", "$${", "}", "\\", '"', "''", "\n", "\r\n", "\t", "a", "ü", "\x01"])
).map("".join)


def fleet(flake: str | None = "github:me/machines") -> Inventory:
    """Give an inventory of two targets and a builder."""
    return Inventory(
        path="inventory.yml",
        hosts=(NITROGEN, CARBON, BUILDER),
        groups={},
        fleet=Fleet(flake=flake),
    )


def unescaped(literal: str) -> str:
    """Read a Nix double-quoted string as the Nix manual describes it, without antiquotes."""
    result, rest = "", literal
    while rest:
        char, rest = rest[0], rest[1:]
        assert char != '"'
        assert (char, rest[:1]) != ("$", "{")
        if char == "\\":
            char, rest = {"n": "\n", "r": "\r", "t": "\t"}.get(rest[0], rest[0]), rest[1:]
        result += char
    return result


@given(HOSTILE)
def test_nix_string_is_read_back(text: str) -> None:
    """Any text survives a Nix string, and none breaks out of it."""
    assert unescaped(nix_string(text)) == text


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(HOSTILE, min_size=20, max_size=40))
@example(['${builtins.abort "out"}', "$${x}", "\\${x}", '"; x = "', "a\r\nb", "''${x}", "\\"])
def test_nix_itself_reads_back_every_string(texts: list[str]) -> None:
    """Nix parses the escaped strings and evaluates them to the same texts."""
    if shutil.which("nix-instantiate") is None:
        pytest.skip("nix-instantiate is not on PATH; the lab has one")
    expression = "[ " + " ".join(f'"{nix_string(text)}"' for text in texts) + " ]"
    command = ["nix-instantiate", "--eval", "--strict", "--json", "--store", "dummy://", "-"]
    done = subprocess.run(command, input=expression.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert json.loads(done.stdout) == texts


@pytest.mark.parametrize("text", ["a\0b", "a\udcffb"])
def test_what_no_nix_string_holds_is_refused(text: str) -> None:
    """NUL and undecodable bytes are refused with what to do."""
    with pytest.raises(UsageError, match="can't be written as a Nix string"):
        nix_string(text)


def test_flake_nix_holds_the_two_urls() -> None:
    """The URLs are in their places, and a mark inside a URL is no mark."""
    text = flake_nix('path:/a"${x}', 'github:"@user@"')
    assert r'user.url = "path:/a\"\${x}";' in text
    assert r'url = "github:\"@user@\"";' in text
    assert "@llama-cpp@" not in text


@pytest.mark.parametrize("name", ["flake.nix", "module.nix", "overlay.nix"])
def test_the_template_is_found_and_parses(name: str) -> None:
    """Every file of the template is there, and is Nix."""
    file = template_directory() / name
    assert file.is_file()
    if shutil.which("nix-instantiate") is None:
        pytest.skip("nix-instantiate is not on PATH; the lab has one")
    subprocess.run(["nix-instantiate", "--parse", file], capture_output=True, check=True)


def test_fleet_json_holds_the_choices() -> None:
    """Each host has its attribute names and GPU targets; nothing else is said."""
    entries = json.loads(fleet_json([CUDA, VULKAN], [CARBON, NITROGEN]))
    assert entries["hosts"]["carbon"] == {
        "acceptedLicences": [],
        "attribute": "llama-cpp-vulkan",
        "cpuFeatures": [],
        "cudaCapabilities": [],
        "gpuTargets": [],
        "march": None,
        "nixosName": "carbon-laptop",
        "rocmGpuTargets": [],
        "source": "upstream",
        "system": "",
        "webUi": True,
    }
    assert entries["hosts"]["nitrogen"]["cudaCapabilities"] == ["8.9"]


def cuda_fleet(scope: TargetScope = TargetScope.PER_FLEET) -> Inventory:
    """Give an inventory of two targets, for choices with CUDA."""
    return replace(fleet(), fleet=Fleet(flake="github:me/machines", gpu_targets=scope))


def compiled_for(directory: Path) -> dict[str, list[str]]:
    """Read what each host's build compiles for."""
    entries = json.loads((directory / "fleet.json").read_bytes())["hosts"]
    return {name: entry["cudaCapabilities"] for name, entry in entries.items()}


@pytest.mark.parametrize(
    ("scope", "carbon", "nitrogen"),
    [
        (TargetScope.PER_FLEET, ["8.6", "8.9"], ["8.6", "8.9"]),
        (TargetScope.PER_HOST, ["8.6"], ["8.9"]),
    ],
)
def test_one_cuda_build_serves_the_fleet(
    tmp_path: Path, scope: TargetScope, carbon: list[str], nitrogen: list[str]
) -> None:
    """Both hosts compile for both GPUs, unless the inventory says per-host."""
    write_flake(tmp_path, cuda_fleet(scope), [CUDA, AMPERE])
    assert compiled_for(tmp_path) == {"carbon": carbon, "nitrogen": nitrogen}


def test_a_run_on_one_host_counts_the_gpus_of_the_others(tmp_path: Path) -> None:
    """Its derivation is the fleet's, and the others' entries are as they were."""
    write_flake(tmp_path, cuda_fleet(), [CUDA, AMPERE])
    whole = (tmp_path / "fleet.json").read_bytes()
    for alone in (CUDA, AMPERE):
        write_flake(tmp_path, cuda_fleet(), [alone])
        assert (tmp_path / "fleet.json").read_bytes() == whole


def test_a_new_gpu_waits_for_the_others_own_run(tmp_path: Path) -> None:
    """A host that gets another GPU changes its own build, and only then theirs."""
    write_flake(tmp_path, cuda_fleet(), [CUDA, AMPERE])
    hopper = replace(AMPERE, cuda_capabilities=("9.0",))
    write_flake(tmp_path, cuda_fleet(), [hopper])
    assert compiled_for(tmp_path) == {"carbon": ["8.9", "9.0"], "nitrogen": ["8.6", "8.9"]}
    write_flake(tmp_path, cuda_fleet(), [CUDA])
    assert compiled_for(tmp_path) == {"carbon": ["8.9", "9.0"], "nitrogen": ["8.9", "9.0"]}


def test_hosts_with_packages_of_two_sources_share_nothing(tmp_path: Path) -> None:
    """Upstream's and nixpkgs' package are two builds in any case."""
    other = replace(AMPERE, source=LlamaSource.NIXPKGS)
    write_flake(tmp_path, cuda_fleet(), [CUDA, other])
    assert compiled_for(tmp_path) == {"carbon": ["8.6"], "nitrogen": ["8.9"]}


def test_accepted_licences_are_for_the_packages_that_need_them() -> None:
    """Only a CUDA build is told of CUDA's licence."""
    accepting = Fleet(accept_licences=(Licence.CUDA,))
    entries = json.loads(fleet_json([CUDA, VULKAN], [CARBON, NITROGEN], fleet=accepting))
    assert entries["hosts"]["nitrogen"]["acceptedLicences"] == ["cuda"]
    assert entries["hosts"]["carbon"]["acceptedLicences"] == []


def test_fleet_json_has_the_same_bytes_for_the_same_choices() -> None:
    """Neither the order of hosts nor the words of a reason change a byte."""
    other = replace(VULKAN, reason="another run's words", warnings=("and a warning",))
    first = fleet_json([VULKAN, CUDA], [CARBON, NITROGEN])
    assert fleet_json([CUDA, other], [NITROGEN, CARBON]) == first


def test_a_host_without_a_choice_has_no_package() -> None:
    """It keeps the system that the user's flake gives it."""
    entries = json.loads(fleet_json([], [CARBON]))
    assert entries["hosts"]["carbon"]["attribute"] is None


def test_write_flake_touches_only_what_differs(tmp_path: Path) -> None:
    """A second run writes nothing; flake.lock stays; a changed choice is one file."""
    directory = write_flake(tmp_path / "flake", fleet(), [VULKAN, CUDA])
    (directory / "flake.lock").write_text("locked")
    copied = {"home.nix", "module.nix", "outputs.nix", "overlay.nix"}
    names = copied | {"flake.nix", "fleet.json", "flake.lock"}
    assert {file.name for file in directory.iterdir()} == names
    before = {file: file.stat().st_mtime_ns for file in directory.iterdir()}
    write_flake(directory, fleet(), [CUDA, VULKAN])
    assert {file: file.stat().st_mtime_ns for file in directory.iterdir()} == before
    write_flake(directory, fleet(), [CUDA, replace(VULKAN, variant=Variant.CPU)])
    changed = [file.name for file in before if file.stat().st_mtime_ns != before[file]]
    assert changed == ["fleet.json"]


def test_a_run_on_some_hosts_keeps_the_choices_of_the_others(tmp_path: Path) -> None:
    """A deployment of one host doesn't invalidate the evaluation of the rest."""
    directory = write_flake(tmp_path, fleet(), [VULKAN, CUDA])
    whole = (directory / "fleet.json").read_bytes()
    write_flake(directory, fleet(), [VULKAN])
    assert (directory / "fleet.json").read_bytes() == whole


def test_a_builder_is_no_host_of_the_flake(tmp_path: Path) -> None:
    """Only what is deployed to is in the flake."""
    directory = write_flake(tmp_path, fleet(), [VULKAN, CUDA])
    assert set(json.loads((directory / "fleet.json").read_bytes())["hosts"]) == {
        "carbon",
        "nitrogen",
    }


def test_a_damaged_fleet_json_is_written_anew(tmp_path: Path) -> None:
    """What an earlier run left is no reason to fail."""
    (tmp_path / "fleet.json").write_text('{"hosts": 3')
    directory = write_flake(tmp_path, fleet(), [VULKAN, CUDA])
    assert json.loads((directory / "fleet.json").read_bytes())["hosts"]["carbon"]["attribute"]


def test_an_inventory_without_a_flake_is_refused(tmp_path: Path) -> None:
    """The variable to set is named."""
    with pytest.raises(UsageError, match="names no flake") as caught:
        write_flake(tmp_path, fleet(flake=None), [])
    assert "orchestrate_flake" in caught.value.hint


@pytest.mark.parametrize(
    "reference", ["github:ggml-org/llama.cpp", "git+ssh://git@host/x?ref=main", "path:/srv/x"]
)
def test_a_flake_reference_passes_through(reference: str) -> None:
    """What is no path is Nix's business."""
    assert flake_url(reference) == reference
    assert source_url(reference) == reference


def test_a_path_in_a_git_work_tree_is_a_git_url(tmp_path: Path) -> None:
    """Nix then copies what git tracks, and a folder in the tree is its dir."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "my hosts").mkdir()
    assert flake_url(str(tmp_path)) == f"git+file://{tmp_path}"
    assert flake_url(str(tmp_path / "my hosts")) == f"git+file://{tmp_path}?dir=my%20hosts"
    (tmp_path / ".git" / "shallow").touch()
    assert flake_url(str(tmp_path)) == f"git+file://{tmp_path}?shallow=1"


def test_a_source_inside_a_work_tree_is_a_path_url(tmp_path: Path) -> None:
    """Nix ignores the dir of an input that is no flake: it would take the whole tree."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "llama.cpp").mkdir()
    assert source_url(str(tmp_path)) == f"git+file://{tmp_path}"
    assert source_url(str(tmp_path / "llama.cpp")) == f"path:{tmp_path}/llama.cpp"


def test_a_linked_work_tree_counts(tmp_path: Path) -> None:
    """In a linked work tree .git is a file."""
    (tmp_path / ".git").write_text("gitdir: elsewhere")
    assert flake_url(str(tmp_path)) == f"git+file://{tmp_path}"


def test_another_path_is_a_path_url(tmp_path: Path) -> None:
    """Whatever its name holds, the URL leads back to it."""
    strange = tmp_path / 'a b?c#d%20"${e}'
    strange.mkdir()
    url = urlsplit(flake_url(str(strange)))
    assert (url.scheme, url.query, url.fragment) == ("path", "", "")
    assert unquote(url.path) == str(strange)
