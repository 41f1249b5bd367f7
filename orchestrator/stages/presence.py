"""Presence: which of the paths that a plan wants does a machine have already?

One round trip. `presence.sh`, beside this file, asks the store and, on a builder,
its substituters, by a dry run: that works by output path alone, before any
derivation was sent there.
"""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING

from orchestrator import nix
from orchestrator.command import script
from orchestrator.errors import PayloadError, StageError
from orchestrator.model.presence import StoreContents
from orchestrator.model.store import StorePath, parse_store_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inventory.copying import Caches
    from orchestrator.command import Command
    from orchestrator.transport.shell import Shell

_ASK_SECONDS = 60.0

# Nix before 2.31 always says MiB; later ones take the unit that fits.
_FETCHED = re.compile(r"th\w+ (?:\d+ )?paths? will be fetched \(([0-9.]+) ((?:[KMGT]i)?B) download")
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def presence_command(paths: Sequence[StorePath], caches: Caches | None) -> Command:
    """Give the command that asks a store.

    Args:
        paths: what is wanted.
        caches: what a builder takes from elsewhere besides its own settings; None
            where substituters aren't asked.
    """
    text = files("orchestrator.stages").joinpath("presence.sh").read_text()
    options = () if caches is None else nix.as_options(nix.cache_settings(caches))
    mode = "no" if caches is None else "substitutes"
    asked = script(text, mode, *options, timeout=_ASK_SECONDS)
    return replace(asked, stdin="".join(f"{path}\n" for path in paths).encode())


async def ask_store(
    shell: Shell, paths: Sequence[StorePath], caches: Caches | None = None
) -> StoreContents:
    """Ask the machine behind `shell` what it has of `paths`.

    Args:
        shell: the machine.
        paths: what is wanted.
        caches: as for `presence_command`.

    Raises:
        CommandError: its store can't be asked.
        PayloadError: it answers something else.
    """
    result = await shell.run(presence_command(paths, caches))
    said = result.check("plan", "its store can't be asked").stdout
    return parse_presence(said, frozenset(paths))


def parse_presence(text: str, wanted: frozenset[StorePath]) -> StoreContents:
    """Read what `presence.sh` prints; of what would be fetched only what is wanted counts.

    Raises:
        PayloadError: it is something else.
    """
    by_kind: dict[str, list[str]] = {"valid": [], "size": [], "dry-run": []}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind not in by_kind:
            raise _unexpected(line)
        by_kind[kind].append(rest)
    try:
        sizes = [int(size) for size in by_kind["size"]]
        valid = dict(zip(map(parse_store_path, by_kind["valid"]), sizes, strict=True))
    except ValueError as error:
        raise _unexpected(text) from error
    fetched, download = _parse_dry_run(by_kind["dry-run"])
    return StoreContents(valid, fetched & wanted, download)


def _parse_dry_run(lines: Iterable[str]) -> tuple[frozenset[StorePath], int]:
    """Read the paths and the bytes that Nix would fetch."""
    fetched: set[StorePath] = set()
    download = 0
    within = False
    for line in lines:
        if found := _FETCHED.match(line):
            within = True
            download = int(float(found[1]) * _UNITS[found[2]])
        elif not line.startswith("  "):
            within = False
        elif within:
            fetched.add(parse_store_path(line.strip()))
    return frozenset(fetched), download


def _unexpected(text: str) -> PayloadError:
    return PayloadError(f"a store was asked what it has, and said {text[:120]!r}", stage="plan")


async def require_system(shell: Shell, system: StorePath) -> None:
    """Make sure that a system which the plan found on a host is still there.

    Raises:
        StageError: the garbage collector took it.
        CommandError: the store can't be asked.
    """
    contents = await ask_store(shell, (system,))
    if system not in contents.valid:
        raise StageError(
            message="its system was there when the plan was made, and is no more",
            hint="run the same command again: it will be built",
            host=shell.host,
            stage="copy_closure",
        )
