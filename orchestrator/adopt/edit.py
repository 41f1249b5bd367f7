"""A change of a text, and the layout of what is put into it or taken out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tree_sitter import Node

    from orchestrator.adopt.syntax import Source

_BLANKS = b" \t"
_INDENT = b"  "


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Bytes from `start_byte` up to `end_byte`, and what they become."""

    start_byte: int
    end_byte: int
    replacement: bytes


def apply(text: bytes, edits: Iterable[Edit]) -> bytes:
    """Return the text with all edits made; they may come in any order.

    Raises:
        ValueError: two of them overlap.
    """
    parts, position = [], 0
    for edit in sorted(edits):
        if edit.start_byte < position:
            message = f"edits overlap at byte {edit.start_byte}"
            raise ValueError(message)
        parts += [text[position : edit.start_byte], edit.replacement]
        position = edit.end_byte
    return b"".join([*parts, text[position:]])


def replaced(node: Node, replacement: bytes) -> Edit:
    """Put something in a node's place."""
    return Edit(node.start_byte, node.end_byte, replacement)


def member(source: Source, container: Node, lines: tuple[bytes, ...]) -> Edit:
    """Add a member behind the last of a list, an attribute set or a let.

    On one line if the container is on one, otherwise on lines of its own in the
    indentation of its neighbours. A comment in `lines` needs its own line.
    """
    opening = _opening(container)
    last = _last_inside(container)
    own_line = last is not None and _line(last) != _line(opening)
    comment = last is not None and last.type == "comment"
    if not own_line and not comment and _closes_on_line(container, last or opening):
        return _inline(source.text, last or opening, lines)
    anchor = last or opening
    if own_line and last is not None:
        indent = indentation(source.text, last.start_byte)
    else:
        indent = indentation(source.text, opening.start_byte) + _INDENT
    return Edit(anchor.end_byte, anchor.end_byte, block(source, indent, lines))


def behind(source: Source, node: Node, lines: tuple[bytes, ...]) -> Edit:
    """Add lines behind a binding, and behind the comment at its line's end."""
    anchor = node
    following = node.next_named_sibling
    if following is not None and following.type == "comment" and _line(following) == _end(node):
        anchor = following
    indent = indentation(source.text, node.start_byte)
    return Edit(anchor.end_byte, anchor.end_byte, block(source, indent, lines))


def formal(source: Source, formals: Node, name: bytes) -> Edit:
    """Add an argument to a function's, behind those that have names."""
    named = [child for child in formals.named_children if child.type == "formal"]
    if named:
        last = named[-1]
        if _line(last) == _line(formals):
            return Edit(last.end_byte, last.end_byte, b", " + name)
        indent = indentation(source.text, last.start_byte)
        return Edit(last.end_byte, last.end_byte, b"," + source.newline + indent + name)
    start = formals.start_byte + 1
    if any(child.type == "ellipses" for child in formals.named_children):
        return Edit(start, start, b" " + name + b",")
    return Edit(start, formals.end_byte - 1, b" " + name + b" ")


def removed(source: Source, node: Node) -> Edit:
    """Take a member out: with its lines if nothing else is on them."""
    text = source.text
    start, end = node.start_byte, node.end_byte
    following = node.next_named_sibling
    if following is not None and following.type == "comment" and _line(following) == _end(node):
        end = following.end_byte
    line_start = text.rfind(b"\n", 0, start) + 1
    line_end = text.find(b"\n", end)
    line_end = len(text) if line_end < 0 else line_end
    alone = not text[line_start:start].strip() and not text[end:line_end].strip()
    if alone and line_start:
        return Edit(line_start, min(line_end + 1, len(text)), b"")
    end = node.end_byte
    if text[line_start:start].strip():
        while start > line_start and text[start - 1 : start] in (b" ", b"\t"):
            start -= 1
    else:
        while text[end : end + 1] in (b" ", b"\t"):
            end += 1
    return Edit(start, end, b"")


def block(source: Source, indent: bytes, lines: tuple[bytes, ...]) -> bytes:
    """Lay out lines, each behind a line break."""
    return b"".join(source.newline + indent + line for line in lines)


def indentation(text: bytes, position: int) -> bytes:
    """Return the blanks that the line around a position begins with."""
    line_start = text.rfind(b"\n", 0, position) + 1
    line = text[line_start:position]
    return line[: len(line) - len(line.lstrip(_BLANKS))]


def _inline(text: bytes, anchor: Node, lines: tuple[bytes, ...]) -> Edit:
    words = b" ".join(line.strip() for line in lines if not line.startswith(b"#"))
    end = anchor.end_byte
    # An empty pair of brackets has nothing inside that says how it is spaced.
    tight = not anchor.is_named and text[end : end + 1] in (b"]", b"}")
    return Edit(end, end, b" " + words + (b" " if tight else b""))


def _opening(container: Node) -> Node:
    """Return the bracket or keyword behind which the members begin."""
    for child in container.children:
        if child.type in {"[", "{", "let"}:
            return child
    return container.children[0]


def _last_inside(container: Node) -> Node | None:
    """Return the last member or comment between a container's ends."""
    closing = next(child for child in container.children if child.type in {"]", "}", "in"})
    inside: list[Node] = []
    for child in container.named_children:
        if child.end_byte <= closing.start_byte:
            inside += child.named_children if child.type == "binding_set" else [child]
    # `rec`, a keyword, is no named node; what is left is in order.
    return inside[-1] if inside else None


def _closes_on_line(container: Node, anchor: Node) -> bool:
    closing = next(child for child in container.children if child.type in {"]", "}", "in"})
    return _line(closing) == _end(anchor)


def _line(node: Node) -> int:
    return node.start_point.row


def _end(node: Node) -> int:
    return node.end_point.row
