"""What a machine says that it has, as Nix 2.26 and 2.34 print it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from inventory.copying import Caches
from orchestrator.errors import PayloadError, StageError
from orchestrator.model.store import StorePath
from orchestrator.model.store_contents import StoreContents
from orchestrator.scripts import parse_answer
from orchestrator.stages.store_contents import (
    check_on_disk,
    looks_lacking,
    presence_command,
    read_presence,
)
from orchestrator.transport.shell import LocalShell
from tests.plans import output

if TYPE_CHECKING:
    from pathlib import Path

LLAMA, SYSTEM, OTHER = output("llama-cpp"), output("nixos"), output("openssl")


def said(*lines: str) -> str:
    """Give lines as the script answers them."""
    return "".join(f"orchestrate:{line}\n" for line in lines)


def fetched(header: str, *paths: str) -> str:
    """Give a dry run's words as store_contents.sh answers them."""
    lines = [header, *(f"  {path}" for path in paths), "don't know how to build these paths:"]
    return said(*(f"dry_run={line}" for line in (*lines, f"  {SYSTEM}")))


@pytest.mark.parametrize(
    ("text", "contents"),
    [
        ("", StoreContents()),
        (said(f"valid={LLAMA}", "size=120"), StoreContents(valid={LLAMA: 120})),
        (
            said(f"valid={LLAMA}", f"valid={SYSTEM}", "size=120", "size=7"),
            StoreContents(valid={LLAMA: 120, SYSTEM: 7}),
        ),
        (
            fetched("this path will be fetched (1.50 MiB download, 3.00 MiB unpacked):", LLAMA),
            StoreContents(substitutable=frozenset({LLAMA}), download=1_572_864),
        ),
        (
            fetched(
                "these 2 paths will be fetched (1.5 KiB download, 2.0 MiB unpacked):", LLAMA, OTHER
            ),
            StoreContents(substitutable=frozenset({LLAMA, OTHER}), download=1536),
        ),
        (
            fetched("warning: unable to download 'https://example.org/nix-cache-info'"),
            StoreContents(),
        ),
    ],
    ids=["nothing", "valid", "two", "2.26 fetches", "2.34 fetches", "nobody has it"],
)
def test_what_a_store_says_is_read(text: str, contents: StoreContents) -> None:
    """Valid paths with their sizes; what would be fetched and its size; nothing else."""
    assert read_presence(parse_answer(text)) == contents


@pytest.mark.parametrize("text", [f"valid={LLAMA}", "valid=/tmp\norchestrate:size=1"])
def test_anything_else_is_refused(text: str) -> None:
    """A path without a size, or what is no store path, is no answer."""
    with pytest.raises(PayloadError):
        read_presence(parse_answer(f"orchestrate:{text}\n"))


def files_in(directory: Path) -> tuple[StorePath, StorePath, StorePath]:
    """Make a file that came whole, one of another time, and the name of none."""
    whole, other = directory / "whole", directory / "other"
    whole.symlink_to("/nowhere")
    os.utime(whole, (1, 1), follow_symlinks=False)
    other.mkdir()
    os.utime(other, (0, 0))
    return StorePath(str(whole)), StorePath(str(other)), StorePath(str(directory / "none"))


def test_files_of_another_time_look_lacking(tmp_path: Path) -> None:
    """Nix gives one time to all that came whole; what was cut off has that of the cut."""
    whole, other, none = files_in(tmp_path)
    assert asyncio.run(looks_lacking(LocalShell(), (whole, other, none), "x")) == (other, none)


def test_what_the_disk_lacks_is_damage_and_another_time_is_none(tmp_path: Path) -> None:
    """A system image gives its files another time than Nix does, and is sound."""
    whole, other, none = files_in(tmp_path)
    asyncio.run(check_on_disk(LocalShell(), (whole, other)))
    asyncio.run(check_on_disk(LocalShell(), ()))
    with pytest.raises(StageError, match=f"its disk lacks {none} and 1 more") as caught:
        asyncio.run(check_on_disk(LocalShell("carbon"), (whole, none, other, none)))
    assert caught.value.host == "carbon"
    assert "--repair" in caught.value.hint


def test_a_builder_asks_the_caches_of_the_inventory() -> None:
    """They are options of the dry run, and only outputs are worth asking for."""
    key = "cache.example.org-1:" + "A" * 43 + "="
    caches = Caches(("https://cache.example.org",), (key,))
    command = presence_command((LLAMA, SYSTEM), (OTHER,), caches)
    assert "https://cache.example.org" in command.argv
    assert "fetchable=2" in command.argv
    assert (command.stdin or b"").split() == [path.encode() for path in (LLAMA, SYSTEM, OTHER)]
