"""What an upgrade changes, read from two locks and from a host's plan."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.errors import PayloadError
from orchestrator.model.plan import FlakeRef
from orchestrator.scripts import parse_answer
from orchestrator.stages.flake.lock import (
    commit_lock,
    drop_lock,
    fork_flake,
    input_changes,
    read_lock,
)
from orchestrator.stages.plan.changes import change_of, read_sizes
from orchestrator.transport.shell import LocalShell
from tests.plans import Wanted, host_plan, output

if TYPE_CHECKING:
    from pathlib import Path

REVISION = "3f2a1bc4d5e6f708192a3b4c5d6e7f8091a2b3c4"


def lock(**inputs: dict[str, Any]) -> str:
    """Give a flake.lock with these inputs."""
    nodes = {name: {"locked": locked, "flake": False} for name, locked in inputs.items()}
    root = {"inputs": {name: name for name in inputs}}
    return json.dumps({"nodes": {**nodes, "root": root}, "root": "root", "version": 7})


def test_inputs_are_told_by_revision_and_day() -> None:
    """A path has a hash instead of a revision; what nobody asked for is left out."""
    old = lock(user={"rev": "0" * 40}, **{"llama-cpp": {"narHash": "sha256-AAAABBBBCCCC="}})
    fetched = {"rev": REVISION, "lastModified": 1780000000, "type": "github"}
    new = lock(user={"rev": "1" * 40}, **{"llama-cpp": fetched})
    (change,) = input_changes(old, new, ("llama-cpp",))
    assert change.sentence == "llama-cpp AAAABBBBC → 3f2a1bc4d (2026-05-28)"
    (first,) = input_changes("", new, ("llama-cpp",))
    assert first.sentence == "llama-cpp none → 3f2a1bc4d (2026-05-28)"
    (same,) = input_changes(new, new, ("llama-cpp",))
    assert same.sentence == "llama-cpp has nothing newer than 3f2a1bc4d (2026-05-28)"


@pytest.mark.parametrize("text", ["no JSON", "{}", '{"nodes": {}, "root": "root"}', "[]"])
def test_what_is_no_lock_is_refused(text: str) -> None:
    """A damaged flake.lock is named, with what to do."""
    with pytest.raises(PayloadError, match=r"flake\.lock") as raised:
        input_changes(text, lock(), ("llama-cpp",))
    assert "remove it" in raised.value.hint


def test_a_change_is_told_in_versions() -> None:
    """Package and system by name, the system only where its name is another one."""
    host = host_plan(Wanted("carbon"))
    assert change_of(host).sentence == "no llama.cpp → llama-shared; old-carbon → system-carbon"
    same_name = output("llama-shared").replace("0", "1")
    assert change_of(running(host, same_name)).sentence.startswith("llama-shared built anew")
    assert change_of(running(host, output("llama-shared"))).sentence.startswith(
        "llama-shared stays"
    )
    older = change_of(running(host, output("llama-0.1"))).sentence
    assert older.startswith("llama-0.1 → llama-shared; ")


def running(host: Any, package: str) -> Any:  # noqa: ANN401 - HostPlan
    """Give a host whose llama-cli is of this package."""
    return replace(host, facts=replace(host.facts, llama_cli=f"{package}/bin/llama-cli"))


def test_sizes_are_bytes() -> None:
    """One number a line, and nothing else."""
    assert read_sizes(parse_answer("orchestrate:size=123\norchestrate:size=4567890123\n")) == (
        123,
        4567890123,
    )
    with pytest.raises(PayloadError, match="sizes in bytes"):
        read_sizes(parse_answer("orchestrate:size=no store\n"))


def test_a_lock_is_forked_and_kept_or_dropped(tmp_path: Path) -> None:
    """The flake's own stays to the byte until a fork is kept; keeping twice changes nothing."""
    flake = FlakeRef(str(tmp_path / "flake"))
    own = tmp_path / "flake" / "flake.lock"
    own.parent.mkdir()
    own.write_text("old\n")
    shell = LocalShell()

    async def work() -> None:
        fork = await fork_flake(shell, flake, "run-1")
        (tmp_path / "upgrade-run-1" / "flake.lock").write_text("new\n")
        assert await read_lock(shell, fork) == "new\n"
        assert own.read_text() == "old\n"
        await drop_lock(shell, flake, "run-1")
        assert own.read_text() == "old\n"
        await fork_flake(shell, flake, "run-2")
        (tmp_path / "upgrade-run-2" / "flake.lock").write_text("newer\n")
        await commit_lock(shell, flake, "run-2")
        await commit_lock(shell, flake, "run-2")

    asyncio.run(work())
    assert own.read_text() == "newer\n"
    assert [path.name for path in tmp_path.iterdir()] == ["flake"]
