"""Step 6, first half: overlays of before that define llama.cpp's variants are removed.

An overlay is old if every attribute that it defines is a llama.cpp. Either all
that refers to it can go, or nothing of it is touched and the user is told why.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from dataclasses import field as data_field
from typing import TYPE_CHECKING

from tree_sitter import Node

from orchestrator.adopt import edit
from orchestrator.adopt.names import ATTRIBUTES, OVERLAY_FILE
from orchestrator.adopt.syntax import (
    bindings,
    field,
    imported,
    inherited,
    inner,
    keys,
    listed_elements,
    module_body,
    selected,
    text_of,
    unwrapped,
    walk,
)

if TYPE_CHECKING:
    from orchestrator.adopt.draft import Draft
    from orchestrator.adopt.syntax import Source

_ARGUMENTS = 2
_MARK = b"llama"


@dataclass(slots=True)
class _Removal:
    """What goes, by file, and what stands in the way."""

    files: dict[str, frozenset[str]]
    nodes: dict[str, dict[int, Node]] = data_field(default_factory=lambda: defaultdict(dict))
    defined: set[str] = data_field(default_factory=set)
    blockers: list[str] = data_field(default_factory=list)

    def take(self, source: Source, node: Node) -> None:
        self.nodes[source.path][node.start_byte] = node

    def takes(self, source: Source, node: Node) -> bool:
        return any(
            taken.start_byte <= node.start_byte and node.end_byte <= taken.end_byte
            for taken in self.nodes[source.path].values()
        )


def remove_old_overlays(draft: Draft) -> frozenset[str]:
    """Remove them with all that refers to them; return the attributes that they defined."""
    sources = [each for each in draft.sources(naming=_MARK) if each.path != OVERLAY_FILE]
    files = {source.path: overlay_names(source.expression) for source in sources}
    removal = _Removal({path: names for path, names in files.items() if names})
    if removal.files:
        sources = list(draft.sources(naming=b""))
    others = [source for source in sources if source.path not in removal.files]
    for source in others:
        _collect(draft, source, removal)
    # An overlay of the flake's outputs may be used in any file.
    for source in draft.sources(naming=b"overlays"):
        _collect_outputs(source, removal)
    for source in others:
        _find_blockers(draft, source, removal)
    if removal.blockers:
        draft.notes.append(
            "an old llama.cpp overlay stays, because it is used in a way that can't be "
            f"removed here: {', '.join(sorted(set(removal.blockers)))}"
        )
        return frozenset()
    return _carry_out(draft, removal)


def overlay_names(expression: Node) -> frozenset[str]:
    """Return what an overlay defines if that is llama.cpp and nothing else."""
    functions = []
    node = inner(expression)
    while node.type == "function_expression":
        functions.append(node)
        node = inner(field(node, "body"))
    plain = [function.child_by_field_name("formals") is None for function in functions]
    body = module_body(expression)
    if len(functions) < _ARGUMENTS or not all(plain[-_ARGUMENTS:]) or body is None:
        return frozenset()
    paths = [keys(field(binding, "attrpath")) for binding in bindings(body)]
    names = {path[0] if path else "" for path in paths} | inherited(body)
    ours = all(name.startswith("llama-cpp") or name == "llamaPackages" for name in names)
    return frozenset(names) if ours else frozenset()


def _defined_by(draft: Draft, source: Source, node: Node, removal: _Removal) -> frozenset[str]:
    """Return what an expression defines as an old overlay; nothing if it is none."""
    literal = imported(node)
    if literal is not None:
        file = draft.resolve(source.path, literal)
        return removal.files.get(file or "", frozenset())
    bare = unwrapped(node)
    return overlay_names(bare) if bare.type == "function_expression" else frozenset()


def _collect(draft: Draft, source: Source, removal: _Removal) -> None:
    for element in listed_elements(source.expression):
        if names := _defined_by(draft, source, element, removal):
            removal.take(source, element)
            removal.defined |= names
    for node in walk(source.expression):
        if node.type != "binding":
            continue
        if names := _defined_by(draft, source, field(node, "expression"), removal):
            _collect_binding(source, node, removal)
            removal.defined |= names


def _collect_binding(source: Source, binding: Node, removal: _Removal) -> None:
    """Take a binding, and in a let also the list elements that name it."""
    removal.take(source, binding)
    path = keys(field(binding, "attrpath")) or ("",)
    scope = binding.parent.parent if binding.parent is not None else None
    if scope is None or scope.type != "let_expression":
        return
    for node in walk(scope):
        if node.type == "variable_expression" and text_of(node) == path[0]:
            if node.parent is not None and node.parent.type == "list_expression":
                removal.take(source, node)
            else:
                removal.blockers.append(source.at(node))
        elif node.type == "inherit" and path[0] in text_of(field(node, "attrs")).split():
            removal.blockers.append(source.at(node))


def _collect_outputs(source: Source, removal: _Removal) -> None:
    """Take `self.overlays.<name>` out of lists, if that overlay goes."""
    gone = {
        path[-1]
        for nodes in removal.nodes.values()
        for node in nodes.values()
        if node.type == "binding" and (path := keys(field(node, "attrpath")))
    }
    for element in listed_elements(source.expression):
        names = selected(element) or ()
        if "overlays" in names[:-1] and names[-1] in gone:
            removal.take(source, element)


def _find_blockers(draft: Draft, source: Source, removal: _Removal) -> None:
    for node in walk(source.expression):
        if node.type != "path_expression" or removal.takes(source, node):
            continue
        if draft.resolve(source.path, text_of(node)) in removal.files:
            removal.blockers.append(source.at(node))


def _carry_out(draft: Draft, removal: _Removal) -> frozenset[str]:
    for path, nodes in removal.nodes.items():
        source = draft.source(path)
        if source is not None and nodes:
            draft.edit(source, [edit.removed(source, node) for node in nodes.values()])
    for path, names in removal.files.items():
        draft.put(path, None)
        removal.defined |= names
    return frozenset(removal.defined)


def note_lost_names(draft: Draft, defined: frozenset[str]) -> None:
    """Note each place where a package is still named that only an old overlay had."""
    lost = defined - ATTRIBUTES - {"llamaPackages"}
    if not lost:
        return
    for source in draft.sources(naming=_MARK):
        for node in walk(source.expression):
            names = selected(node)
            if names and names[-1] in lost:
                draft.notes.append(f"{source.at(node)}: {names[-1]} is gone with the old overlay")
