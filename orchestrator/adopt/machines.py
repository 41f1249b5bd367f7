"""The machines of a flake: its calls of nixosSystem, and the files that each reaches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from tree_sitter import Node

from orchestrator.adopt.draft import normal
from orchestrator.adopt.syntax import (
    around,
    attrset,
    elements,
    field,
    inherited,
    inner,
    keys,
    let_value,
    own_lists,
    selected,
    text_of,
    values,
    walk,
)
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.adopt.draft import Draft
    from orchestrator.adopt.syntax import Source

_MANY = "*"


@dataclass(frozen=True, slots=True)
class System:
    """One call of nixosSystem; `name` is None if it makes several machines."""

    name: str | None
    call: Node
    modules: Node


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, its own file if it has one, and all files that it reaches."""

    name: str
    file: str | None
    reach: frozenset[str]


def systems(source: Source) -> list[System]:
    """Return the flake's calls of nixosSystem.

    Raises:
        UsageError: there is none, or one that can't be followed.
    """
    found = [
        _system(source, node)
        for node in walk(source.expression)
        if node.type == "apply_expression"
        and (selected(field(node, "function")) or ("",))[-1] == "nixosSystem"
    ]
    if not found:
        message = f"{source.path} calls no nixosSystem"
        raise UsageError(message, hint="only machines that flake.nix itself defines are adopted")
    return found


def _system(source: Source, call: Node) -> System:
    argument = attrset(field(call, "argument"))
    modules = list(values(argument, ("modules",))) if argument else []
    if argument is None or not modules:
        message = f"{source.at(call)}: this nixosSystem names no modules"
        raise UsageError(message, hint="write `modules = [ … ];` in its argument, then adopt")
    if "pkgs" in inherited(argument) or any(values(argument, ("pkgs",))):
        message = f"{source.at(call)}: this nixosSystem is given its pkgs, without our overlay"
        raise UsageError(message, hint="leave `pkgs` away and set nixpkgs.config instead")
    return System(_name(call), call, modules[0])


def _name(call: Node) -> str | None:
    """Return the name under nixosConfigurations, or that of a let; None in a function."""
    path: tuple[str, ...] = ()
    for node in around(call):
        if node.type == "function_expression" and not path:
            return None
        if node.type != "binding":
            continue
        path = (*(keys(field(node, "attrpath")) or ("",)), *path)
        if "nixosConfigurations" in path[:-1]:
            return path[path.index("nixosConfigurations") + 1]
        if node.parent and node.parent.parent and node.parent.parent.type == "let_expression":
            return path[0]
    return None


def module_lists(modules: Node) -> list[Node]:
    """Return the lists that the modules are in, also those that a let has a name for."""
    found = own_lists(modules)
    for operand in _operands(modules):
        if operand.type == "variable_expression" and (value := let_value(operand)):
            found += own_lists(value)
    return found


def _operands(node: Node) -> Iterator[Node]:
    node = inner(node)
    if node.type == "binary_expression":
        yield from _operands(field(node, "left"))
        yield from _operands(field(node, "right"))
    else:
        yield node


def inline_modules(modules: Node) -> list[Node]:
    """Return the modules that are written in the flake itself."""
    return [
        node
        for found in module_lists(modules)
        for element in elements(found)
        if (node := inner(element)).type.endswith(("attrset_expression", "function_expression"))
    ]


def machines(draft: Draft, source: Source) -> list[Machine]:
    """Return every machine that the flake's source names."""
    found: list[Machine] = []
    for system in systems(source):
        literals = _paths(system.call)
        for node in module_lists(system.modules):
            literals += [text for text in _paths(node) if text not in literals]
        if system.name is not None:
            found.append(_machine(draft, source, system.name, literals))
        else:
            found += _machines_by_file(draft, source, literals)
    files = [machine.file for machine in found]
    # What several machines have is no machine's own.
    return [
        machine if files.count(machine.file) == 1 else replace(machine, file=None)
        for machine in found
    ]


def _machine(draft: Draft, source: Source, name: str, literals: list[str]) -> Machine:
    files = [file for text in literals if (file := draft.resolve(source.path, text))]
    named = [file for file in files if name in _words(file)]
    others = [file for file in files if file.endswith(".nix")]
    own = named[0] if named else (others[0] if len(set(others)) == 1 else None)
    return Machine(name, own, _reach(draft, files))


def _machines_by_file(draft: Draft, source: Source, literals: list[str]) -> list[Machine]:
    """Return a machine for each file that a path like `./machines/${name}.nix` means."""
    common = [text for text in literals if "${" not in text]
    found = []
    for literal in literals:
        before, _, rest = literal.partition("${")
        _, _, after = rest.partition("}")
        if not rest or "${" in after:
            continue
        found += [
            _machine(draft, source, name, [f"{before}{name}{after}", *common])
            for name in _matches(draft, source, before, after)
        ]
    return found


def _matches(draft: Draft, source: Source, before: str, after: str) -> list[str]:
    pattern = normal(PurePosixPath(source.path).parent / f"{before}{_MANY}{after}")
    start, _, end = (pattern or "").partition(_MANY)
    names = {
        rest
        for file in draft.files
        for ending in ((end,) if end else ("/default.nix",))
        if file.startswith(start)
        and file.endswith(ending)
        and (rest := file[len(start) : len(file) - len(ending)])
        and "/" not in rest
    }
    return sorted(names)


def _words(file: str) -> tuple[str, ...]:
    path = PurePosixPath(file)
    return (*path.parent.parts, path.stem)


def _paths(node: Node) -> list[str]:
    return [text_of(found) for found in walk(node) if found.type == "path_expression"]


def _reach(draft: Draft, files: list[str]) -> frozenset[str]:
    """Return the files that are imported from these, and from those, and so on."""
    reached: set[str] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file in reached or not file.endswith(".nix"):
            continue
        reached.add(file)
        source = draft.source(file)
        literals = _paths(source.expression) if source else []
        waiting += [found for text in literals if (found := draft.resolve(file, text))]
    return frozenset(reached)
