"""Step 1: the flake input, llama.cpp's source tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.adopt import edit
from orchestrator.adopt.names import INPUT, OVERLAY_FILE, URL
from orchestrator.adopt.syntax import attrset, bindings, field, keys, values
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from tree_sitter import Node

    from orchestrator.adopt.draft import Draft
    from orchestrator.adopt.edit import Edit
    from orchestrator.adopt.syntax import Source

FLAKE = "flake.nix"


def flake_source(draft: Draft) -> Source:
    """Return the flake as it is now.

    Raises:
        UsageError: there is none.
    """
    source = draft.source(FLAKE)
    if source is None:
        message = f"there is no flake.nix in {draft.root}"
        raise UsageError(message, hint="name the directory of your NixOS flake")
    return source


def flake_attrset(source: Source) -> Node:
    """Return the attribute set that a flake is.

    Raises:
        UsageError: it is something else.
    """
    found = attrset(source.expression)
    if found is None:
        message = f"{source.at(source.expression)}: a flake is an attribute set"
        raise UsageError(message, hint="see `nix flake init`")
    return found


def add_input(draft: Draft) -> None:
    """Add the input if the flake has none of its name."""
    source = flake_source(draft)
    flake = flake_attrset(source)
    if not _has_input(flake):
        draft.edit(source, [_addition(source, flake)])


def _has_input(flake: Node) -> bool:
    flat = [keys(field(binding, "attrpath")) for binding in bindings(flake)]
    nested = [
        keys(field(binding, "attrpath"))
        for inputs in values(flake, ("inputs",))
        if (found := attrset(inputs))
        for binding in bindings(found)
    ]
    return any(names and names[:2] == ("inputs", INPUT) for names in flat) or any(
        names and names[0] == INPUT for names in nested
    )


def _addition(source: Source, flake: Node) -> Edit:
    """Put it with the other inputs, in the way that they are written."""
    lines = (
        f"# llama.cpp's source, which {OVERLAY_FILE} builds with this flake's pkgs.".encode(),
        f"{INPUT} = {{".encode(),
        f'  url = "{URL}";'.encode(),
        b"  flake = false;",
        b"};",
    )
    for inputs in values(flake, ("inputs",)):
        if found := attrset(inputs):
            return edit.member(source, found, lines)
    flat = (lines[0], b"inputs." + lines[1], *lines[2:])
    written_flat = [
        binding
        for binding in bindings(flake)
        if (names := keys(field(binding, "attrpath"))) and names[0] == "inputs"
    ]
    if written_flat:
        return edit.behind(source, written_flat[-1], flat)
    return edit.member(source, flake, flat)
