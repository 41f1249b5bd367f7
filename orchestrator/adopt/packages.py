"""Package lists: the llama.cpp in them, and how one gets in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tree_sitter import Node

from orchestrator.adopt import edit
from orchestrator.adopt.edit import Edit
from orchestrator.adopt.names import INPUT
from orchestrator.adopt.syntax import (
    all_lists,
    attrset,
    bindings,
    bound,
    called,
    elements,
    field,
    formal_names,
    formals_of,
    inner,
    is_pkgs,
    keys,
    module_body,
    own_lists,
    selected,
    unwrapped,
    values,
    walk,
    within_pkgs,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.adopt.syntax import Source

SYSTEM = ("environment", "systemPackages")
HOME = ("home", "packages")


@dataclass(frozen=True, slots=True)
class Reference:
    """A llama.cpp in a list.

    `attribute` is empty for one that comes from elsewhere than pkgs; `prefix` is
    what a package of pkgs needs in front of it in that place; `sure` says that no
    condition can take it away.
    """

    node: Node
    attribute: str
    prefix: str
    sure: bool


def references(root: Node, option: tuple[str, str], known: frozenset[str]) -> list[Reference]:
    """Return every llama.cpp in the lists of an option, anywhere below `root`."""
    return [
        Reference(element, *package, listed in own_lists(value))
        for value in _option_values(root, option)
        for listed in all_lists(value)
        for element in elements(listed)
        if (package := _package(element, known))
    ]


def _option_values(root: Node, option: tuple[str, str]) -> Iterator[Node]:
    """Return what an option is bound to, however deep, as `a.b` or `a = { b = …; }`."""
    for node in walk(root):
        if node.type != "binding":
            continue
        path = keys(field(node, "attrpath")) or ()
        value = field(node, "expression")
        if path[-2:] == option:
            yield value
        elif path[-1:] == option[:1] and (inside := attrset(value)):
            yield from values(inside, option[1:])


def _package(element: Node, known: frozenset[str]) -> tuple[str, str] | None:
    """Return the attribute of pkgs that an element is, and its prefix; None for others.

    An overridden package counts as the package.
    """
    node = unwrapped(element)
    names = selected(called(node)) or ()
    if node.type == "apply_expression":
        if names[-1:] not in {("override",), ("overrideAttrs",)}:
            return None
        names = names[:-1]
    bare = within_pkgs(element)
    if names[:2] == ("inputs", INPUT):
        return "", "" if bare else "pkgs."
    if not names or names[-1] not in known:
        return None
    *before, attribute = names
    if not before:
        return (attribute, "") if bare else None
    if is_pkgs(".".join(before)):
        return attribute, f"{'.'.join(before)}."
    # Such as pkgs.unstable.llama-cpp: of another nixpkgs.
    return ("", "" if bare else "pkgs.") if "pkgs" in before else None


def replacement(reference: Reference, attribute: str) -> Edit:
    """Put another package of pkgs in a reference's place."""
    return edit.replaced(reference.node, f"{reference.prefix}{attribute}".encode())


def addition(
    source: Source, module: Node, option: tuple[str, str], attribute: str
) -> list[Edit] | None:
    """Add a package to a module's option; None if it can't be written there."""
    body = module_body(module)
    if body is None:
        return None
    top = {path[0] for b in bindings(body) if (path := keys(field(b, "attrpath")))}
    settings = next((found for v in values(body, ("config",)) if (found := attrset(v))), None)
    if settings is None and top & {"config", "options"}:
        return None
    settings = settings or body
    for value in values(settings, option):
        lists = own_lists(value)
        return _into_list(source, module, lists[0], attribute) if lists else None
    return _new_binding(source, module, settings, option, attribute)


def _into_list(source: Source, module: Node, listed: Node, attribute: str) -> list[Edit]:
    if within_pkgs(listed):
        return [edit.member(source, listed, (attribute.encode(),))]
    pkgs, edits = _pkgs(source, module)
    return [*edits, edit.member(source, listed, (f"{pkgs}.{attribute}".encode(),))]


def _new_binding(
    source: Source, module: Node, settings: Node, option: tuple[str, str], attribute: str
) -> list[Edit] | None:
    pkgs, edits = _pkgs(source, module)
    for binding in bound(settings, option[:1]):
        inside = attrset(field(binding, "expression"))
        if inside is None:
            return None
        line = f"{option[1]} = [ {pkgs}.{attribute} ];".encode()
        return [*edits, edit.member(source, inside, (line,))]
    line = f"{'.'.join(option)} = [ {pkgs}.{attribute} ];".encode()
    return [*edits, edit.member(source, settings, (line,))]


def _pkgs(source: Source, module: Node) -> tuple[str, list[Edit]]:
    """Return the name of pkgs in a module, and what has to be edited to have it."""
    function = _module_function(module)
    if function is None:
        start = module.start_byte
        return "pkgs", [Edit(start, start, b"{ pkgs, ... }:" + source.newline)]
    formals = formals_of(function)
    if formals is None:
        # NixOS passes pkgs only to a function that names it.
        end = field(function, "universal").end_byte
        return "pkgs", [Edit(end, end, b"@{ pkgs, ... }")]
    if "pkgs" in formal_names(formals):
        return "pkgs", []
    return "pkgs", [edit.formal(source, formals, b"pkgs")]


def _module_function(module: Node) -> Node | None:
    found = None
    node = inner(module)
    while node.type == "function_expression":
        found = node
        node = inner(field(node, "body"))
    return found
