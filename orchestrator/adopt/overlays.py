"""Steps 2 and 3: the overlay's file, and the overlay in every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.adopt import edit
from orchestrator.adopt.draft import relative
from orchestrator.adopt.flake_input import flake_attrset, flake_source
from orchestrator.adopt.machines import inline_modules, systems
from orchestrator.adopt.names import INPUT, OVERLAY_FILE, OVERLAY_NAME
from orchestrator.adopt.syntax import (
    bound_to,
    elements,
    field,
    formal_names,
    formals_of,
    has_ellipsis,
    imported,
    let_value,
    module_body,
    own_lists,
    text_of,
    universal_of,
    unwrapped,
    values,
)
from orchestrator.errors import UsageError
from orchestrator.stages.flake.flake import template_directory

if TYPE_CHECKING:
    from tree_sitter import Node

    from orchestrator.adopt.draft import Draft
    from orchestrator.adopt.edit import Edit
    from orchestrator.adopt.machines import System
    from orchestrator.adopt.syntax import Source

_SIMPLE = (
    "variable_expression",
    "select_expression",
    "apply_expression",
    "parenthesized_expression",
    "list_expression",
)


def write_overlay(draft: Draft) -> None:
    """Write the overlay's file; another text in its place is replaced."""
    text = (template_directory() / "overlay.nix").read_bytes()
    earlier = draft.text(OVERLAY_FILE)
    if earlier is not None and earlier != text:
        draft.notes.append(f"{OVERLAY_FILE} is replaced; git has what it was")
    draft.put(OVERLAY_FILE, text)


def use_overlay(draft: Draft) -> None:
    """Add the overlay to every machine of the flake, one edit after the other."""
    _take_argument(draft)
    while True:
        source = flake_source(draft)
        lacking = [system for system in systems(source) if not _has_overlay(source, system)]
        if not lacking:
            return
        if not _bind(draft, source):
            draft.edit(source, [_added(source, lacking[0], _element(source))])


def outputs_function(source: Source) -> Node:
    """Return the function that a flake's outputs are.

    Raises:
        UsageError: they are something else.
    """
    for value in values(flake_attrset(source), ("outputs",)):
        function = unwrapped(value)
        if function.type == "function_expression":
            return function
    message = f"{source.path}: its outputs are not written as a function"
    raise UsageError(message, hint="adopt works on `outputs = { self, ... }@inputs: …`")


def _take_argument(draft: Draft) -> None:
    """Let the outputs take the new input, if they name what they take."""
    source = flake_source(draft)
    function = outputs_function(source)
    formals = formals_of(function)
    if formals is None or INPUT in formal_names(formals):
        return
    if universal_of(function) is None or not has_ellipsis(formals):
        draft.edit(source, [edit.formal(source, formals, INPUT.encode())])


def _import(source: Source) -> str:
    universal = universal_of(outputs_function(source))
    argument = INPUT if universal is None else f"({universal}) {INPUT}"
    return f"import ./{OVERLAY_FILE} {{ inherit {argument}; }}"


def _bind(draft: Draft, source: Source) -> bool:
    """Add the name to the let of the outputs; say whether anything changed."""
    body = unwrapped(field(outputs_function(source), "body"))
    if body.type != "let_expression" or bound_to(body, OVERLAY_NAME) is not None:
        return False
    line = f"{OVERLAY_NAME} = {_import(source)};".encode()
    draft.edit(source, [edit.member(source, body, (line,))])
    return True


def _element(source: Source) -> str:
    """Return the overlay as an element of a list."""
    body = unwrapped(field(outputs_function(source), "body"))
    if body.type == "let_expression":
        value = bound_to(body, OVERLAY_NAME)
        if value is not None and _is_ours(source, value):
            return OVERLAY_NAME
    return f"({_import(source)})"


def _is_ours(source: Source, node: Node) -> bool:
    if node.type == "variable_expression":
        value = let_value(node)
        return value is not None and _is_ours(source, value)
    literal = imported(node)
    return literal is not None and relative(source.path, literal) == OVERLAY_FILE


def _overlay_lists(system: System) -> list[Node]:
    return [
        found
        for module in inline_modules(system.modules)
        if (body := module_body(module))
        for value in values(body, ("nixpkgs", "overlays"))
        for found in own_lists(value)
    ]


def _has_overlay(source: Source, system: System) -> bool:
    return any(
        _is_ours(source, element) for found in _overlay_lists(system) for element in elements(found)
    )


def _added(source: Source, system: System, element: str) -> Edit:
    lists = _overlay_lists(system)
    if lists:
        return edit.member(source, lists[0], (element.encode(),))
    return module_added(source, system, f"{{ nixpkgs.overlays = [ {element} ]; }}")


def module_added(source: Source, system: System, module: str) -> Edit:
    """Add a module to a machine, written in the flake itself."""
    lists = own_lists(system.modules)
    if lists:
        return edit.member(source, lists[0], (module.encode(),))
    text = text_of(system.modules)
    simple = system.modules.type in _SIMPLE or system.modules.type == "binary_expression"
    text = text if simple else f"({text})"
    return edit.replaced(system.modules, f"{text} ++ [ {module} ]".encode())
