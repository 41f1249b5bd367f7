"""`orchestrate adopt` on a fleet like strategy's: shown, written, and evaluated by Nix itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.adopt.adoption import adopt
from orchestrator.adopt.draft import Draft
from orchestrator.adopt.flake_input import add_input
from orchestrator.adopt.names import OVERLAY_FILE
from orchestrator.adopt.old_overlay import remove_old_overlays
from orchestrator.adopt.overlays import use_overlay, write_overlay
from orchestrator.cli.adopt import command
from orchestrator.errors import UsageError
from orchestrator.stages.flake.flake import template_directory
from tests import ROOT

HERE = Path(__file__).parent
FLEET = HERE / "fleet"
GOLDEN = HERE / "adopted.diff"
LAB = ROOT / "tests/lab"
OLD_OVERLAY = "nixos/pkgs/llama-cpp-variants.nix"
WANTED = {"carbon": "llama-cpp-vulkan", "nitrogen": "llama-cpp-cuda"}
OPTIONS = ("--variant", "carbon=vulkan", "--variant", "nitrogen=cuda")
PACKAGES = {
    "carbon": "llama-cpp-vulkan",
    "beryllium": "llama-cpp",
    "boron": "llama-cpp",
    "nitrogen": "llama-cpp-cuda",
}
FILES = tuple(sorted(str(file.relative_to(FLEET)) for file in FLEET.rglob("*.nix")))

STEPS = {
    "old overlay": remove_old_overlays,
    "input": add_input,
    "file": write_overlay,
    "overlay": use_overlay,
}


def git(directory: Path, *arguments: str) -> str:
    """Run git in a directory, as a made-up user."""
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    done = subprocess.run(
        ["git", "-C", directory, *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return the fleet's flake, committed."""
    directory = Path(shutil.copytree(FLEET, tmp_path / "fleet"))
    git(directory, "init", "--quiet")
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message", "as it was")
    return directory


def orchestrate_adopt(path: Path, *arguments: str) -> Result:
    """Run the command; an error of ours comes out as it is."""
    inventory = ("--inventory", str(path.parent / "inventory.yml"))
    options = [str(path), *inventory, *arguments]
    return CliRunner().invoke(command, options, catch_exceptions=False, standalone_mode=False)


def texts(directory: Path) -> dict[str, bytes]:
    """Return every file of a tree."""
    return {
        str(file.relative_to(directory)): file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file() and ".git" not in file.parts
    }


def finished(directory: Path, files: tuple[str, ...] = FILES) -> dict[str, bytes]:
    """Return a tree's files after adoption."""
    draft = Draft(directory, files)
    adopt(draft, WANTED, {})
    found = texts(directory)
    for change in draft.changes():
        found.pop(change.path, None)
        if change.after is not None:
            found[change.path] = change.after
    return found


ADOPTED = finished(FLEET)


def put(directory: Path, files: dict[str, bytes]) -> None:
    """Write files into a directory."""
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)


def test_the_diff_is_this_one(tree: Path) -> None:
    """Comments, blanks and the rest of each file stay; the diff is read by a person."""
    shown = orchestrate_adopt(tree, *OPTIONS)
    assert shown.exit_code == 0
    # The overlay is the template's; its 200 lines would only be there twice.
    whole, marks = shown.stdout, f"diff --git a/{OVERLAY_FILE}"
    before, _, rest = whole.partition(marks)
    _, separator, after = rest.partition("\ndiff --git")
    assert before + separator[1:] + after == GOLDEN.read_text()
    assert "nothing is written yet" in shown.stderr
    assert git(tree, "status", "--porcelain") == ""


def test_git_apply_makes_of_the_diff_what_write_makes(tree: Path, tmp_path: Path) -> None:
    """Who trusts git more than us gets the same tree."""
    other = Path(shutil.copytree(tree, tmp_path / "other"))
    (tmp_path / "a.diff").write_text(orchestrate_adopt(other, *OPTIONS).stdout)
    git(other, "apply", str(tmp_path / "a.diff"))
    orchestrate_adopt(tree, *OPTIONS, "--write")
    assert texts(other) == texts(tree) == ADOPTED


def test_the_overlay_is_that_of_the_template(tree: Path) -> None:
    """In the tree and in the generated flake, llama.cpp is built by the same file."""
    orchestrate_adopt(tree, "--write")
    template = (template_directory() / "overlay.nix").read_bytes()
    assert (tree / OVERLAY_FILE).read_bytes() == template


def test_a_new_file_is_told_to_git_and_to_the_user(tree: Path) -> None:
    """A flake sees only what git tracks: the file is added, its content isn't staged."""
    said = orchestrate_adopt(tree, *OPTIONS, "--write").stdout
    assert f"git add --intent-to-add {OVERLAY_FILE}" in said
    assert f" A {OVERLAY_FILE}\n" in git(tree, "status", "--porcelain")
    assert git(tree, "diff", "--cached", "--stat") == ""


def test_again_changes_nothing(tree: Path) -> None:
    """The second run says so, though what the first one wrote isn't committed."""
    orchestrate_adopt(tree, *OPTIONS, "--write")
    before = texts(tree)
    for arguments in ((*OPTIONS, "--write"), ("--write",), ()):
        assert "nothing to change" in orchestrate_adopt(tree, *arguments).stdout
    assert texts(tree) == before


def test_a_dirty_tree_is_not_written_to(tree: Path) -> None:
    """The user's own changes are never mixed with ours; the diff is shown all the same."""
    (tree / "notes.txt").write_text("mine\n")
    before = texts(tree)
    with pytest.raises(UsageError, match=r"not committed:\n\?\? notes.txt") as raised:
        orchestrate_adopt(tree, "--write")
    assert "git stash" in raised.value.hint
    assert texts(tree) == before
    assert orchestrate_adopt(tree).exit_code == 0


def test_without_git_there_is_no_adoption(tmp_path: Path) -> None:
    """Git can undo the change, and is what a flake is made of."""
    (tmp_path / "flake.nix").write_text("{ }")
    with pytest.raises(UsageError, match="in no git work tree") as raised:
        orchestrate_adopt(tmp_path)
    assert "git init" in raised.value.hint


def test_without_a_flake_there_is_no_adoption(tmp_path: Path) -> None:
    """A path without flake.nix is told as such."""
    git(tmp_path, "init", "--quiet")
    with pytest.raises(UsageError, match=r"there is no flake\.nix"):
        orchestrate_adopt(tmp_path)


@pytest.mark.parametrize("option", ["carbon", "carbon=gpu", "carbon="])
def test_a_variant_that_does_not_exist_is_refused(tree: Path, option: str) -> None:
    """The error lists those that do."""
    with pytest.raises(UsageError, match="names no variant") as raised:
        orchestrate_adopt(tree, "--variant", option)
    assert "vulkan" in raised.value.hint


def test_the_pins_of_the_inventory_are_the_choice(tree: Path) -> None:
    """A machine gets the variant that its host is pinned to; --variant wins over it."""
    hosts = {
        "laptop": {"orchestrate_nixos_name": "carbon", "orchestrate_llama_variant": "vulkan"},
        "boron": {"orchestrate_llama_variant": "rocm"},
        "elsewhere": {"orchestrate_llama_variant": "cpu"},
    }
    inventory = {"all": {"vars": {"orchestrate_flake": "."}, "hosts": hosts}}
    (tree.parent / "inventory.yml").write_text(json.dumps(inventory))
    orchestrate_adopt(tree, "--variant", "boron=cpu", "--write")
    assert "llama-cpp-vulkan" in (tree / "machines/carbon.nix").read_text()
    assert "pkgs.llama-cpp-cpu" in (tree / "machines/boron/default.nix").read_text()


@settings(deadline=None, max_examples=40)
@given(st.sets(st.sampled_from(sorted({*FILES, OVERLAY_FILE} - {OLD_OVERLAY}))))
def test_it_goes_on_from_any_files_that_are_done(done: set[str]) -> None:
    """Whichever files are adopted already, the rest follows, and the end is the same."""
    with tempfile.TemporaryDirectory() as name:
        put(Path(name), texts(FLEET) | {path: ADOPTED[path] for path in done})
        after = finished(Path(name), tuple(sorted({*FILES, *done})))
        assert after == ADOPTED


@settings(deadline=None, max_examples=20)
@given(st.permutations(sorted(STEPS)), st.integers(0, len(STEPS)))
def test_it_goes_on_from_any_steps_that_are_done(order: list[str], count: int) -> None:
    """Whichever steps were taken before, in whichever order, the end is the same."""
    with tempfile.TemporaryDirectory() as name:
        put(Path(name), texts(FLEET))
        draft = Draft(Path(name), FILES)
        defined: set[str] = set()
        for step in order[:count]:
            defined |= set(STEPS[step](draft) or ())
        for change in draft.changes():
            if change.after is None:
                (Path(name) / change.path).unlink()
            else:
                put(Path(name), {change.path: change.after})
        after = finished(Path(name))
        # The name that only the old overlay explained can't be known without it.
        if not defined:
            assert after == ADOPTED
        put(Path(name), after)
        again = finished(Path(name))
        assert {path: again[path] for path in after} == after


def nix(directory: Path, *arguments: str) -> str:
    """Run nix with a store of its own, without a network, on the stand-ins."""
    environment = os.environ | {
        "NIX_REMOTE": f"local?root={directory.parent / 'store-root'}",
        "NIX_CONFIG": "experimental-features = nix-command flakes\n"
        "substituters =\nflake-registry =\n",
        "XDG_CACHE_HOME": str(directory.parent / "cache"),
    }
    inputs = {"nixpkgs": LAB / "nixos", "llama-cpp": LAB / "llama-cpp", "wallpapers": LAB}
    overrides = [
        word for name, path in inputs.items() for word in ("--override-input", name, f"path:{path}")
    ]
    argv = ["nix", *arguments, "--no-write-lock-file", *overrides]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env=environment, cwd=directory
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("nix") is None, reason="nix is not on PATH; the lab has one")
def test_nix_evaluates_what_was_adopted(tree: Path) -> None:
    """`nix flake check` passes, and each machine's system is made of its own llama.cpp alone."""
    orchestrate_adopt(tree, *OPTIONS, "--write")
    nix(tree, "flake", "check", "--no-build")
    for machine, attribute in PACKAGES.items():
        configuration = f".#nixosConfigurations.{machine}"
        package = f"{configuration}.pkgs.{attribute}.drvPath"
        listed = f"{configuration}.config.environment.systemPackages"
        llama = json.loads(nix(tree, "eval", "--json", package))
        names = "map (package: package.drvPath)"
        drvs = json.loads(nix(tree, "eval", "--json", listed, "--apply", names))
        assert [drv for drv in drvs if "llama" in drv] == [llama]
        toplevel = f"{configuration}.config.system.build.toplevel"
        closure = nix(tree, "derivation", "show", "--recursive", toplevel)
        assert Path(llama).name in closure
