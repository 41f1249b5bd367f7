"""Each of strategy's steps on small flakes, written in the ways that people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.adopt.adoption import adopt
from orchestrator.adopt.draft import Draft
from orchestrator.adopt.names import OVERLAY_FILE
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INPUT = 'llama-cpp = { url = "github:ggml-org/llama.cpp"; flake = false; };'


def adopted(
    directory: Path,
    files: Mapping[str, str],
    wanted: Mapping[str, str] | None = None,
    home_manager: str | None = None,
) -> tuple[dict[str, str], list[str]]:
    """Return the files that change when these are adopted, and the notes; adopt twice."""
    for name, text in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    draft = Draft(directory, tuple(sorted(files)))
    adopt(draft, wanted or {}, {}, home_manager)
    changes = {change.path: change.after for change in draft.changes()}
    for path, after in changes.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        if after is None:
            (directory / path).unlink()
        else:
            (directory / path).write_bytes(after)
    again = Draft(
        directory, tuple(sorted(path for path in files if changes.get(path, b"") is not None))
    )
    adopt(again, wanted or {}, {}, home_manager)
    assert again.changes() == ()
    return {path: (after or b"").decode() for path, after in changes.items()}, draft.notes


def flake(outputs: str, inputs: str = "inputs = { };") -> str:
    """Return a flake's text."""
    return f"{{ {inputs} outputs = {outputs}; }}"


def machine(modules: str = "[ ./machines/carbon.nix ]", extra: str = "") -> str:
    """Return the outputs' attribute set with one machine."""
    call = f"nixpkgs.lib.nixosSystem {{ {extra} modules = {modules}; }}"
    return f"{{ nixosConfigurations.carbon = {call}; }}"


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("inputs = { };", f"inputs = {{ {INPUT} }};"),
        ('inputs = { a.url = "x"; };', f'inputs = {{ a.url = "x"; {INPUT} }};'),
        ('inputs.a.url = "x";', 'inputs.llama-cpp = {\n  url = "github:ggml-org/llama.cpp";'),
    ],
)
def test_the_input_stands_with_the_others(tmp_path: Path, inputs: str, expected: str) -> None:
    """In one attribute set or as flat paths: as the flake has it."""
    changes, _ = adopted(tmp_path, {"flake.nix": flake(f"inputs: {machine('[ ]')}", inputs)})
    assert expected in changes["flake.nix"]


@pytest.mark.parametrize(
    "inputs",
    [
        'inputs = { llama-cpp = { url = "x"; inputs.nixpkgs.follows = "nixpkgs"; }; };',
        'inputs.llama-cpp.url = "x";',
        'inputs = { llama-cpp.url = "x"; };',
    ],
)
def test_an_input_of_that_name_stays(tmp_path: Path, inputs: str) -> None:
    """The user's own choice of llama.cpp's source is not changed: the overlay takes it."""
    changes, _ = adopted(tmp_path, {"flake.nix": flake(f"inputs: {machine('[ ]')}", inputs)})
    assert inputs in changes["flake.nix"]
    assert "ggml-org" not in changes["flake.nix"]


@pytest.mark.parametrize(
    ("head", "becomes", "argument"),
    [
        ("inputs:", "inputs:", "(inputs) llama-cpp"),
        ("{ self, ... }@all:", "{ self, ... }@all:", "(all) llama-cpp"),
        ("{ self, nixpkgs, ... }:", "{ self, nixpkgs, llama-cpp, ... }:", "llama-cpp"),
        ("{ self, nixpkgs }:", "{ self, nixpkgs, llama-cpp }:", "llama-cpp"),
        ("{ self, nixpkgs }@i:", "{ self, nixpkgs, llama-cpp }@i:", "(i) llama-cpp"),
        ("{ ... }:", "{ llama-cpp, ... }:", "llama-cpp"),
    ],
)
def test_the_outputs_take_the_input(tmp_path: Path, head: str, becomes: str, argument: str) -> None:
    """A function that names all it takes would fail when called with one more."""
    changes, _ = adopted(tmp_path, {"flake.nix": flake(f"{head} {machine('[ ]')}")})
    assert f"outputs = {becomes} {{" in changes["flake.nix"]
    call = f"(import ./{OVERLAY_FILE} {{ inherit {argument}; }})"
    assert f"{{ nixpkgs.overlays = [ {call} ]; }}" in changes["flake.nix"]


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ("[ { nixpkgs.overlays = [ a ]; } ]", "{ nixpkgs.overlays = [ a overlay-llama-cpp ]; }"),
        ("common", "common ++ [ { nixpkgs.overlays = [ overlay-llama-cpp ]; }"),
        ("if a then b else c", "(if a then b else c) ++ [ { nixpkgs.overlays = "),
        ("shared", "shared = [ { nixpkgs.overlays = [ overlay-llama-cpp ]; } ];"),
    ],
)
def test_every_kind_of_modules_gets_the_overlay(
    tmp_path: Path, modules: str, expected: str
) -> None:
    """Into a list that is there, also one with a name, else in a module of its own."""
    outputs = f"inputs: let shared = [ {{ nixpkgs.overlays = [ ]; }} ]; in {machine(modules)}"
    changes, _ = adopted(tmp_path, {"flake.nix": flake(outputs)})
    assert expected in changes["flake.nix"]
    assert "overlay-llama-cpp = import ./nixos/overlays/llama-cpp.nix" in changes["flake.nix"]


def test_machines_of_a_function_are_found_by_their_files(tmp_path: Path) -> None:
    """`./machines/${name}.nix` makes a machine of each file that it can mean."""
    call = "nixpkgs.lib.nixosSystem { modules = [ ./machines/${name}.nix ]; }"
    outputs = f"{{ nixpkgs, ... }}: {{ nixosConfigurations = genAttrs [ ] (name: {call}); }}"
    files = {"flake.nix": flake(outputs), "machines/a.nix": "{ }", "machines/b.nix": "{ }"}
    changes, _ = adopted(tmp_path, files, {"b": "llama-cpp-vulkan"})
    assert "[ pkgs.llama-cpp ]" in changes["machines/a.nix"]
    assert "[ pkgs.llama-cpp-vulkan ]" in changes["machines/b.nix"]


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        ("with pkgs; [ llama-cpp ]", "llama-cpp-cuda", "with pkgs; [ llama-cpp-cuda ]"),
        ("[ pkgs.llama-cpp-cuda ]", None, None),
        ("[ pkgs.llama-cpp-cuda pkgs.llama-cpp ]", None, "[ pkgs.llama-cpp-cuda ]"),
        ("[ (pkgs.llama-cpp.override { a = 1; }) ]", None, None),
        ("[ (pkgs.llama-cpp.override { a = 1; }) ]", "llama-cpp-rocm", "[ pkgs.llama-cpp-rocm ]"),
        ("[ pkgs.unstable.llama-cpp ]", None, "[ pkgs.llama-cpp ]"),
        ("[ inputs.llama-cpp.packages.${system}.cuda ]", None, "[ pkgs.llama-cpp ]"),
        ("[ pkgs.python3Packages.llama-cpp-python ]", None, None),
        (
            "with pkgs; [ a ] ++ lib.optionals x [ llama-cpp-vulkan ]",
            None,
            "with pkgs; [ a llama-cpp ] ++ lib.optionals x [ ]",
        ),
    ],
)
def test_a_machine_ends_with_one_llama_cpp(
    tmp_path: Path, before: str, wanted: str | None, after: str | None
) -> None:
    """The wanted one, else the one that it lists already, else the one for any CPU."""
    text = f"{{ pkgs, ... }}: {{ environment.systemPackages = {before}; }}"
    files = {"flake.nix": flake(f"inputs: {machine()}"), "machines/carbon.nix": text}
    changes, _ = adopted(tmp_path, files, {"carbon": wanted} if wanted else {})
    if after is None and "python" in before:
        after = before.replace(" ]", " pkgs.llama-cpp ]")
    assert changes.get("machines/carbon.nix", text) == text.replace(before, after or before)


def test_a_machine_without_a_file_gets_its_package_in_the_flake(tmp_path: Path) -> None:
    """There is always a place for a machine that the flake names."""
    changes, _ = adopted(tmp_path, {"flake.nix": flake(f"inputs: {machine('[ ]')}")})
    module = "({ pkgs, ... }: { environment.systemPackages = [ pkgs.llama-cpp ]; })"
    assert module in changes["flake.nix"]


def test_an_old_overlay_that_is_used_otherwise_stays(tmp_path: Path) -> None:
    """What can't be removed whole is not removed by half, and the user hears of it."""
    files = {
        "flake.nix": flake(
            "inputs: let old = import ./old.nix; in "
            + machine("[ { nixpkgs.overlays = [ old ]; } (f old) ]")
        ),
        "old.nix": "final: prev: { llama-cpp = prev.llama-cpp.override { }; }",
    }
    changes, notes = adopted(tmp_path, files)
    assert "old.nix" not in changes
    assert "[ old overlay-llama-cpp ]" in changes["flake.nix"]
    assert any("stays" in note and "flake.nix:1" in note for note in notes)


@pytest.mark.parametrize(
    "overlay",
    ["(final: prev: { llama-cpp-x = 1; })", "(import ./old.nix { inherit inputs; })", "./old.nix"],
)
def test_an_old_overlay_goes_in_every_form(tmp_path: Path, overlay: str) -> None:
    """Written in the list, imported with arguments, or named as a path."""
    files = {
        "flake.nix": flake(f"inputs: {machine('[ { nixpkgs.overlays = [ ' + overlay + ' ]; } ]')}"),
        "old.nix": "{ inputs }: final: prev: let a = 1; in { llama-cpp-x = a; }",
    }
    changes, _ = adopted(tmp_path, files)
    assert changes["old.nix"] == ""
    assert overlay not in changes["flake.nix"]


def test_an_overlay_that_does_more_stays(tmp_path: Path) -> None:
    """Only what defines llama.cpp and nothing else is an old overlay."""
    files = {
        "flake.nix": flake(
            f"inputs: {machine('[ { nixpkgs.overlays = [ (import ./o.nix) ]; } ]')}"
        ),
        "o.nix": "final: prev: { llama-cpp = 1; hello = 2; }",
    }
    changes, _ = adopted(tmp_path, files)
    assert "o.nix" not in changes


def test_an_overlay_of_the_outputs_goes_with_its_uses(tmp_path: Path) -> None:
    """`self.overlays.llama` is a name for it in any file."""
    outputs = f"{{ self, ... }}@inputs: {{ overlays.llama = import ./old.nix; }} // {machine()}"
    files = {
        "flake.nix": flake(outputs),
        "machines/carbon.nix": "{ inputs, ... }:"
        " { nixpkgs.overlays = [ inputs.self.overlays.llama ]; }",
        "old.nix": "final: prev: { llama-cpp = prev.llama-cpp; }",
    }
    changes, _ = adopted(tmp_path, files)
    assert "overlays.llama" not in changes["flake.nix"] + changes["machines/carbon.nix"]


def test_home_manager_gets_a_package_where_it_is_asked_for(tmp_path: Path) -> None:
    """Only the named file, and only once."""
    files = {
        "flake.nix": flake(f"inputs: {machine()}"),
        "machines/carbon.nix": "{ }",
        "home.nix": "{ pkgs, ... }: { home.packages = with pkgs; [ hello ]; }",
    }
    changes, _ = adopted(tmp_path, files, {"carbon": "llama-cpp-vulkan"}, "home.nix")
    assert "with pkgs; [ hello llama-cpp ]" in changes["home.nix"]


def test_home_manager_keeps_an_attribute_that_exists(tmp_path: Path) -> None:
    """A package that only the old overlay had becomes the one for any CPU."""
    files = {
        "flake.nix": flake(f"inputs: {machine()}"),
        "machines/carbon.nix": "{ }",
        "home.nix": "{ pkgs, ... }: { home = { packages = [ pkgs.llama-cpp-x ]; }; }",
        "old.nix": "final: prev: { llama-cpp-x = 1; }",
    }
    changes, _ = adopted(tmp_path, files)
    assert "[ pkgs.llama-cpp ]" in changes["home.nix"]


def test_a_name_that_is_lost_is_told(tmp_path: Path) -> None:
    """Outside of package lists nothing is guessed; the user hears where to look."""
    files = {
        "flake.nix": flake(f"inputs: {machine()}"),
        "machines/carbon.nix": "{ pkgs, ... }: { services.llama-cpp.package = pkgs.llama-cpp-x; }",
        "old.nix": "final: prev: { llama-cpp-x = 1; }",
    }
    _, notes = adopted(tmp_path, files)
    assert "machines/carbon.nix:1: llama-cpp-x is gone with the old overlay" in notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{ outputs = import ./o.nix; }", "calls no nixosSystem|not written as a function"),
        ("{ outputs = inputs: { }; }", "calls no nixosSystem"),
        (flake("inputs: f (nixpkgs.lib.nixosSystem args)"), "flake.nix:1: .* names no modules"),
        (flake(f"inputs: {machine(extra='inherit pkgs;')}"), "flake.nix:1: .* given its pkgs"),
        ("[ ]", "flake.nix:1: a flake is an attribute set"),
        ("{ outputs = ; }", "flake.nix:1:13: this can't be read"),
    ],
)
def test_what_can_not_be_followed_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """An error names the place; nothing is guessed."""
    with pytest.raises(UsageError, match=message) as raised:
        adopted(tmp_path, {"flake.nix": text})
    assert raised.value.hint


def test_a_variant_for_no_machine_is_refused(tmp_path: Path) -> None:
    """A slip in --variant is told with the names that there are."""
    with pytest.raises(UsageError, match="no machine carbn") as raised:
        adopted(tmp_path, {"flake.nix": flake(f"inputs: {machine()}")}, {"carbn": "llama-cpp"})
    assert "carbon" in raised.value.hint


def test_a_link_out_of_the_tree_is_refused(tmp_path: Path) -> None:
    """Nothing outside of the path that was named is read or written."""
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = tmp_path / "inside"
    (inside / "nixos").mkdir(parents=True)
    (inside / "nixos/overlays").symlink_to(outside)
    with pytest.raises(UsageError, match="leads out of"):
        adopted(inside, {"flake.nix": flake(f"inputs: {machine('[ ]')}")})
    assert list(outside.iterdir()) == []
