"""The shape of the code: imports go one way, and functions stay small."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from orchestrator import stages
from orchestrator.stages import ROOMS
from tests import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("inventory", "orchestrator", "tasks")
LEAVES = ("orchestrator.errors", "orchestrator.hints", "orchestrator.log", "orchestrator.workspace")
LAYERS = (
    ("inventory",),
    ("orchestrator.model",),
    ("orchestrator.command",),
    ("orchestrator.nix", "orchestrator.scripts", "orchestrator.transport", "orchestrator.state"),
    # adopt takes the place of stages where the user changes the flake himself.
    ("orchestrator.stages", "orchestrator.adopt"),
    ("orchestrator.deploy",),
    ("tasks",),
    ("orchestrator.cli", "orchestrator.__main__"),
)
LONGEST = 40
DEEPEST = 3

FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in FILES
}


def imports(tree: ast.AST, *, at_run_time: bool = False) -> set[str]:
    """Give our own modules that a file imports, in functions and for types too."""
    found = set()
    for node in ast.walk(without_typing(tree) if at_run_time else tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {known for name in found if (known := module_of(name))}


def module_of(name: str) -> str:
    """Give the module that an imported name is, or is in; empty where it isn't ours."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def without_typing(tree: ast.AST) -> ast.AST:
    """Give a file without what only a type checker imports."""

    class Drop(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            only_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return None if only_types else node

    return Drop().visit(ast.parse(ast.unparse(tree)))  # type: ignore[no-any-return]


def layer(module: str) -> int | None:
    """Give the number of a module's layer; None for a leaf and for a bare package."""
    for number, prefixes in enumerate(LAYERS):
        if any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes):
            return number
    return None


def functions(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Give every function of a file."""
    tree = ast.parse(file.read_text())
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    """A module imports from its own layer and those before it, never from a later one."""
    place = layer(module)
    for name in imports(ast.parse(MODULES[module].read_text())):
        other = layer(name)
        if name in LEAVES or other is None:
            continue
        assert place is not None, f"{MODULES[module]} is a leaf and imports {name}"
        assert other <= place, f"{MODULES[module]} imports {name}, which comes after it"


def room(module: str) -> str:
    """Give the room of a stage that a module lies in; empty for what the rooms share."""
    parts = module.split(".")
    return (
        parts[2] if parts[:2] == ["orchestrator", "stages"] and len(parts) > SHARED_BY_ROOMS else ""
    )


SHARED_BY_ROOMS = 3
"""`orchestrator.stages.store_contents` has so many parts: a file beside the rooms."""


@pytest.mark.parametrize("module", [name for name in MODULES if room(name)])
def test_no_room_reaches_into_another(module: str) -> None:
    """A stage's room imports what all rooms share, and nothing of another stage's."""
    for name in imports(ast.parse(MODULES[module].read_text())):
        assert room(name) in ("", room(module)), f"{MODULES[module]} reaches into {name}"


def test_the_stages_are_told_in_order() -> None:
    """`stages/__init__.py` names every room there is, and tells of each."""
    folders = {path.parent.name for path in (ROOT / "orchestrator/stages").glob("*/__init__.py")}
    assert set(ROOMS) == folders
    told = [line.split()[0] for line in (stages.__doc__ or "").splitlines() if "  " in line]
    assert tuple(told) == ROOMS


def test_siblings_of_a_layer_do_not_mix() -> None:
    """Nix's commands know nothing of the transport, and the transport nothing of Nix."""
    for module, file in MODULES.items():
        names = imports(ast.parse(file.read_text()))
        if module == "orchestrator.nix":
            assert not any(name.startswith("orchestrator.transport") for name in names), file
        elif module.startswith("orchestrator.transport"):
            assert "orchestrator.nix" not in names, file


def test_workers_do_not_import_the_driver() -> None:
    """What performs steps, and Celery's side of it, know nothing of what drives a run."""
    for module, file in MODULES.items():
        if module.startswith(("tasks", "orchestrator.deploy.perform")):
            names = imports(ast.parse(file.read_text()))
            assert not any(name.startswith("orchestrator.deploy.drive") for name in names), file


def test_every_module_has_a_place() -> None:
    """A new module is in a layer or among the leaves."""
    bare = {"orchestrator"}
    lost = {name for name in MODULES if layer(name) is None} - {*LEAVES, *bare}
    assert not lost


def test_no_import_cycles() -> None:
    """No module needs itself at run time, on whatever way."""
    needs = {
        module: imports(ast.parse(file.read_text()), at_run_time=True) - {module}
        for module, file in MODULES.items()
    }
    ordered: set[str] = set()
    while ready := {name for name in needs if name not in ordered and needs[name] <= ordered}:
        ordered |= ready
    cyclic = {name: sorted(needs[name] - ordered) for name in needs if name not in ordered}
    assert not cyclic, f"in or behind a cycle: {cyclic}"


@pytest.mark.parametrize("module", MODULES)
def test_no_file_only_re_exports(module: str) -> None:
    """A file has something of its own, or is the docstring of its folder."""
    body = ast.parse(MODULES[module].read_text()).body
    own = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)]
    imported = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert own or not imported, f"{MODULES[module]} only hands on what others define"


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_small(module: str) -> None:
    """A function has forty lines at most, its docstring aside, and is nested three deep."""
    for function in functions(MODULES[module]):
        start = function.body[0].end_lineno if ast.get_docstring(function) else function.lineno
        assert start is not None
        assert function.end_lineno is not None
        name = f"{MODULES[module]}:{function.lineno} {function.name}"
        assert function.end_lineno - start <= LONGEST, f"{name} is too long"
        assert depth(function.body) <= DEEPEST, f"{name} is nested too deep"


def depth(body: list[ast.stmt]) -> int:
    """Say how many blocks are inside each other; an `elif` is as deep as its `if`."""
    deepest = 0
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        inner = [getattr(node, name, []) for name in ("body", "finalbody")]
        inner += [handler.body for handler in getattr(node, "handlers", [])]
        otherwise = getattr(node, "orelse", [])
        chained = isinstance(node, ast.If) and len(otherwise) == 1
        is_elif = chained and isinstance(otherwise[0], ast.If)
        below = max((depth(block) for block in [*inner, [] if is_elif else otherwise]), default=0)
        here = below + 1 if any(inner) else 0
        deepest = max(deepest, here, depth(otherwise) if is_elif else 0)
    return deepest
