"""Closures: read as each Nix prints them, and ordered so that they can arrive."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import nix
from orchestrator.errors import PayloadError
from orchestrator.model.closure import PathInfo, closure_of
from tests.plans import output

if TYPE_CHECKING:
    from orchestrator.model.store import StorePath

LLAMA, SYSTEM, LIBC = output("llama-cpp"), output("nixos"), output("libc")
INFOS = {
    SYSTEM: PathInfo(SYSTEM, 7, frozenset({LLAMA, LIBC})),
    LLAMA: PathInfo(LLAMA, 120, frozenset({LIBC, LLAMA})),
    LIBC: PathInfo(LIBC, 30, frozenset()),
}


def row(info: PathInfo) -> dict[str, Any]:
    """Give what Nix says of a path, in all versions, with a field of some."""
    references = sorted(info.references)
    return {"narSize": info.size, "references": references, "signatures": ["a-1:AAAA"], "ca": None}


OLD = [{"path": path, "valid": True} | row(info) for path, info in INFOS.items()]
NEW = {path: row(info) for path, info in INFOS.items()}


@pytest.mark.parametrize("said", [OLD, NEW], ids=["2.18", "2.26 and 2.34"])
def test_path_infos_are_read_as_each_nix_prints_them(said: object) -> None:
    """A list of objects, or an object by path, with the fields that all have."""
    assert nix.parse_path_infos(json.dumps(said)) == INFOS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "7",
        '"x"',
        "[" * 100_000,
        json.dumps([row(INFOS[LIBC])]),
        json.dumps([{"path": LIBC, "valid": False}]),
        json.dumps({LIBC: None}),
        json.dumps({LIBC: row(INFOS[LIBC]) | {"narSize": "30"}}),
        json.dumps({LIBC: row(INFOS[LIBC]) | {"narSize": -1}}),
        json.dumps({LIBC: row(INFOS[LIBC]) | {"references": ["libc"]}}),
        json.dumps({LIBC: row(INFOS[LIBC]) | {"references": None}}),
        json.dumps({"info": {LIBC.removeprefix("/nix/store/"): row(INFOS[LIBC])}, "version": 2}),
    ],
)
def test_other_path_infos_are_refused(text: str) -> None:
    """A path that isn't valid, another format, or what is no answer: one clear error."""
    with pytest.raises(PayloadError):
        nix.parse_path_infos(text)


def test_dependencies_come_first() -> None:
    """The closure of a path is in the order in which it can arrive, and no larger."""
    assert [info.path for info in closure_of([SYSTEM], INFOS)] == [LIBC, LLAMA, SYSTEM]
    assert [info.path for info in closure_of([LLAMA], INFOS)] == [LIBC, LLAMA]


def test_a_closure_with_a_hole_is_refused() -> None:
    """What isn't known of every path is no closure, nor are paths that need each other."""
    with pytest.raises(PayloadError, match="said nothing of"):
        closure_of([SYSTEM], {path: info for path, info in INFOS.items() if path != LIBC})
    around = {LIBC: replace(INFOS[LIBC], references=frozenset({SYSTEM}))}
    with pytest.raises(PayloadError, match="needs itself"):
        closure_of([SYSTEM], INFOS | around)


PATHS = [output(f"path-{number}") for number in range(12)]


@st.composite
def graphs(draw: st.DrawFn) -> dict[StorePath, PathInfo]:
    """Give a store whose paths refer to earlier ones, and to themselves."""
    found = {}
    for number, path in enumerate(PATHS):
        references = draw(st.frozensets(st.sampled_from(PATHS[: number + 1])))
        found[path] = PathInfo(path, number, references)
    return found


@given(graphs(), st.lists(st.sampled_from(PATHS), max_size=4))
def test_every_closure_is_whole_and_in_order(
    infos: dict[StorePath, PathInfo], roots: list[StorePath]
) -> None:
    """Whatever refers to whatever: the roots, all they need, nothing else, each once."""
    paths = [info.path for info in closure_of(roots, infos)]
    assert len(set(paths)) == len(paths)
    assert set(roots) <= set(paths)
    arrived: set[StorePath] = set()
    for path in paths:
        assert infos[path].references <= arrived | {path}
        arrived.add(path)
    needed = set(roots).union(*(infos[path].references for path in paths))
    assert arrived == needed
