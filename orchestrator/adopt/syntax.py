"""Nix source as a tree: what is bound to which attribute path, and the lists in it.

A thin layer over tree-sitter-nix, which keeps every byte and comment in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import tree_sitter_nix
from tree_sitter import Language, Node, Parser

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ATTRSETS = ("attrset_expression", "rec_attrset_expression")
# What stands around an expression without changing what kind of value it is.
_AROUND = {
    "parenthesized_expression": "expression",
    "with_expression": "body",
    "let_expression": "body",
    "assert_expression": "body",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A file's bytes and its one expression."""

    path: str
    text: bytes
    expression: Node

    @property
    def newline(self) -> bytes:
        """How the lines of this file end."""
        return b"\r\n" if b"\r\n" in self.text else b"\n"

    def at(self, node: Node) -> str:
        """Name a place as `file:line`."""
        return f"{self.path}:{node.start_point.row + 1}"


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_nix.language()))


def parse(path: str, text: bytes) -> Source:
    """Read a Nix file.

    Raises:
        UsageError: it isn't Nix, at a place that is named.
    """
    seen = text
    root = _parser().parse(seen).root_node
    # The grammar doesn't know `{ a, b, }:`, the comma behind the last argument,
    # which Nix allows. It is read with a blank there; the text keeps its comma.
    while root.has_error and (comma := _last_comma(root)) is not None:
        seen = seen[:comma] + b" " + seen[comma + 1 :]
        root = _parser().parse(seen).root_node
    expression = root.child_by_field_name("expression")
    if root.has_error or expression is None:
        raise _unreadable(path, text, _first_error(root) or root)
    return Source(path, text, expression)


def _last_comma(root: Node) -> int | None:
    """Return the first comma that stands between a function's last argument and the brace."""
    for node in walk(root):
        if node.type != "formals" or not node.has_error:
            continue
        *rest, comma, brace = [node, *_leaves(node)]
        ends = (comma.type, brace.type) == (",", "}")
        if ends and rest[-1].type not in {",", "{"}:
            return comma.start_byte
    return None


def _leaves(node: Node) -> Iterator[Node]:
    """Return the tokens of a node that are in the text, without its comments."""
    if node.type == "comment" or node.is_missing:
        return
    if node.child_count == 0:
        yield node
    for child in node.children:
        yield from _leaves(child)


def _unreadable(path: str, text: bytes, node: Node) -> UsageError:
    place = node.start_byte
    while node.is_missing and text[place : place + 1].isspace():
        place += 1
    before = text[:place].decode(errors="replace")
    row, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
    message = f"{path}:{row}:{column}: this can't be read as Nix"
    return UsageError(message, hint=f"see what `nix-instantiate --parse {path}` says of it")


def _first_error(node: Node) -> Node | None:
    for child in node.children:
        if child.has_error and (found := _first_error(child)):
            return found
    return node if node.is_error or node.is_missing else None


def walk(node: Node) -> Iterator[Node]:
    """Return a node and all below it, in the order of the text."""
    yield node
    for child in node.named_children:
        yield from walk(child)


def around(node: Node) -> Iterator[Node]:
    """Return what a node is in, from the inside out."""
    above = node.parent
    while above is not None:
        yield above
        above = above.parent


def field(node: Node, name: str) -> Node:
    """Return a part that the grammar promises."""
    found = node.child_by_field_name(name)
    if found is None:
        message = f"a {node.type} without {name}"
        raise ValueError(message)
    return found


def text_of(node: Node) -> str:
    """Return a node's own text."""
    return (node.text or b"").decode()


def unwrapped(node: Node) -> Node:
    """Return an expression without the parentheses around it."""
    while node.type == "parenthesized_expression":
        node = field(node, "expression")
    return node


def inner(node: Node) -> Node:
    """Return the value behind parentheses, `with`, `let` and `assert`."""
    while node.type in _AROUND:
        node = field(node, _AROUND[node.type])
    return node


def module_body(expression: Node) -> Node | None:
    """Return the attribute set that a module is, whether it is a function or not."""
    node = inner(expression)
    while node.type == "function_expression":
        node = inner(field(node, "body"))
    return node if node.type in _ATTRSETS else None


def attrset(node: Node) -> Node | None:
    """Return an expression as a literal attribute set."""
    node = unwrapped(node)
    return node if node.type in _ATTRSETS else None


def bindings(container: Node) -> list[Node]:
    """Return the `name = value;` of an attribute set or a let."""
    return [node for node in _members(container) if node.type == "binding"]


def _members(container: Node) -> Iterator[Node]:
    for child in container.named_children:
        if child.type == "binding_set":
            yield from child.named_children


def bound_to(container: Node, name: str) -> Node | None:
    """Return what a plain name is bound to in an attribute set or a let."""
    for binding in bindings(container):
        if keys(field(binding, "attrpath")) == (name,):
            return field(binding, "expression")
    return None


def let_value(variable: Node) -> Node | None:
    """Return what the nearest let around a variable binds its name to."""
    for above in around(variable):
        if above.type == "let_expression" and (value := bound_to(above, text_of(variable))):
            return value
    return None


def inherited(container: Node) -> set[str]:
    """Return the names that an attribute set or a let takes over by `inherit`."""
    return {
        text_of(attr)
        for node in _members(container)
        if node.type in {"inherit", "inherit_from"}
        for attr in field(node, "attrs").named_children
    }


def keys(attrpath: Node) -> tuple[str, ...] | None:
    """Return a path's names; None if one is computed."""
    names = []
    for attr in attrpath.children_by_field_name("attr"):
        if attr.type == "identifier":
            names.append(text_of(attr))
        elif attr.type == "string_expression" and "${" not in text_of(attr):
            names.append(text_of(attr)[1:-1])
        else:
            return None
    return tuple(names)


def bound(container: Node, path: tuple[str, ...]) -> Iterator[Node]:
    """Return the bindings of an attribute path, in whichever way it is split up."""
    for binding in bindings(container):
        names = keys(field(binding, "attrpath"))
        if names is None:
            continue
        if names == path:
            yield binding
        elif names == path[: len(names)] and (deeper := attrset(field(binding, "expression"))):
            yield from bound(deeper, path[len(names) :])


def values(container: Node, path: tuple[str, ...]) -> Iterator[Node]:
    """Return what is bound to an attribute path."""
    for binding in bound(container, path):
        yield field(binding, "expression")


def own_lists(node: Node) -> list[Node]:
    """Return the literal lists that an expression always consists of."""
    node = inner(node)
    if node.type == "list_expression":
        return [node]
    if node.type == "binary_expression" and text_of(field(node, "operator")) == "++":
        return own_lists(field(node, "left")) + own_lists(field(node, "right"))
    return []


def all_lists(node: Node) -> list[Node]:
    """Return these, and those that only a condition or a priority adds."""
    node = inner(node)
    if node.type == "list_expression":
        return [node]
    if node.type == "binary_expression":
        return all_lists(field(node, "left")) + all_lists(field(node, "right"))
    if node.type == "if_expression":
        return all_lists(field(node, "consequence")) + all_lists(field(node, "alternative"))
    if node.type == "apply_expression":
        return all_lists(field(node, "argument"))
    return []


def listed_elements(root: Node) -> Iterator[Node]:
    """Return the elements of all lists below a node."""
    for node in walk(root):
        if node.type == "list_expression":
            yield from elements(node)


def elements(list_expression: Node) -> list[Node]:
    """Return a list's elements, without its comments."""
    return list_expression.children_by_field_name("element")


def is_pkgs(text: str) -> bool:
    """Return whether an expression is a module's pkgs: `pkgs` or `args.pkgs`."""
    return text == "pkgs" or text.endswith(".pkgs")


def within_pkgs(node: Node) -> bool:
    """Return whether names around a node come from `with pkgs;`."""
    for above in around(node):
        if above.type == "binding":
            return False
        if above.type == "with_expression" and is_pkgs(text_of(field(above, "environment"))):
            return True
    return False


def selected(node: Node) -> tuple[str, ...] | None:
    """Return the names of `a.b.c` or `a`; None for anything else."""
    if node.type == "variable_expression":
        return (text_of(node),)
    if node.type != "select_expression":
        return None
    root = field(node, "expression")
    names = [text_of(attr) for attr in field(node, "attrpath").children_by_field_name("attr")]
    return (text_of(root), *names)


def called(node: Node) -> Node:
    """Return the function of a call, behind all its arguments."""
    node = unwrapped(node)
    while node.type == "apply_expression":
        node = unwrapped(field(node, "function"))
    return node


def imported(node: Node) -> str | None:
    """Return the path of `import ./path` with any arguments behind it, or of `./path` itself."""
    node = unwrapped(node)
    while node.type == "apply_expression":
        function = unwrapped(field(node, "function"))
        argument = unwrapped(field(node, "argument"))
        if function.type == "variable_expression" and text_of(function) == "import":
            return text_of(argument) if argument.type == "path_expression" else None
        node = function
    return text_of(node) if node.type == "path_expression" else None


def formals_of(function: Node) -> Node | None:
    """Return the `{ a, b, ... }` of a function."""
    return function.child_by_field_name("formals")


def universal_of(function: Node) -> str | None:
    """Return the name that a function has for all of its argument."""
    found = function.child_by_field_name("universal")
    return None if found is None else text_of(found)


def has_ellipsis(formals: Node) -> bool:
    """Return whether a function takes more than it names."""
    return any(child.type == "ellipses" for child in formals.named_children)


def formal_names(formals: Node) -> list[str]:
    """Return the names that a function takes."""
    return [
        text_of(field(child, "name")) for child in formals.named_children if child.type == "formal"
    ]
