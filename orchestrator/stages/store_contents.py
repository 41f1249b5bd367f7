"""What a store has: which of the paths that a plan wants, and whether they are whole.

One round trip. `store_contents.sh`, beside this file, asks the store and, on a builder,
its substituters, by a dry run: that works by output path alone, before any
derivation was sent there.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from inventory.copying import Caches
from orchestrator import nix
from orchestrator.errors import CommandError, PayloadError, StageError
from orchestrator.hints import hint_for
from orchestrator.model.stage import Stage
from orchestrator.model.store import DerivationPath, StorePath, parse_store_path
from orchestrator.model.store_contents import StoreContents
from orchestrator.scripts import answer_of, script

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.command import Command
    from orchestrator.scripts import Answer
    from orchestrator.transport.shell import Shell

P = TypeVar("P", bound=str)
"""A store path, a derivation's own among them."""

_ASK_SECONDS = 60.0


COPY_AGAIN = "run the same command again: what arrived whole is not sent twice"
"""What to do about a copy that broke off."""

REPAIR = "repair it there: nix-store --verify --check-contents --repair, and look at its disk"
"""What to do about a store that isn't as its database has it."""

_WHOLE = "1"
"""The time that Nix gives to all that it has put into its store, in seconds."""

# Nix before 2.31 always says MiB; later ones take the unit that fits.
_FETCHED = re.compile(r"th\w+ (?:\d+ )?paths? will be fetched \(([0-9.]+) ((?:[KMGT]i)?B) download")
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def presence_command(
    fetchable: Sequence[StorePath], others: Sequence[StorePath], caches: Caches
) -> Command:
    """Build the command that asks a store.

    Args:
        fetchable: what is worth asking the substituters for as well.
        others: what else may be in the store.
        caches: the substituters besides those that the machine is set up with.
    """
    options = nix.as_options(nix.cache_settings(caches))
    asked = script(
        "stages/store_contents.sh", *options, fetchable=str(len(fetchable)), timeout=_ASK_SECONDS
    )
    return asked.with_lines((*fetchable, *others))


async def ask_store(shell: Shell, paths: Sequence[StorePath]) -> StoreContents:
    """Ask the machine behind `shell` which of `paths` are in its store.

    Raises:
        CommandError: its store can't be asked.
        PayloadError: it answers something else.
    """
    return await _ask(shell, presence_command((), paths, Caches()))


async def ask_builder(
    shell: Shell, outputs: Sequence[StorePath], inputs: Sequence[StorePath], caches: Caches
) -> StoreContents:
    """Ask a builder what it has, and which outputs it could fetch.

    Args:
        shell: the builder.
        outputs: what is wanted.
        inputs: what building that takes.
        caches: the substituters that the inventory names for it.

    Raises:
        CommandError: its store can't be asked.
        PayloadError: it answers something else.
    """
    contents = await _ask(shell, presence_command(outputs, inputs, caches))
    return replace(contents, substitutable=contents.substitutable & frozenset(outputs))


async def _ask(shell: Shell, command: Command) -> StoreContents:
    result = await shell.run(command)
    return read_presence(answer_of(result, Stage.PLAN, "its store can't be asked"))


def read_presence(answer: Answer) -> StoreContents:
    """Read what `store_contents.sh` answered.

    Raises:
        PayloadError: it is something else.
    """
    valid, sizes = answer.every("valid"), answer.every("size")
    try:
        sized = dict(zip(map(parse_store_path, valid), map(int, sizes), strict=True))
    except ValueError as error:
        message = f"a store was asked what it has, and said {sizes[:3]} of {valid[:3]}"
        raise PayloadError(message, stage=Stage.PLAN) from error
    fetched, download = _parse_dry_run(answer.every("dry_run"))
    return StoreContents(sized, fetched, download)


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


async def lacking(shell: Shell, paths: tuple[P, ...], stage: str) -> tuple[P, ...]:
    """Return those of `paths` that a store lacks, in their order; `stage` is who asks.

    Raises:
        CommandError: the store can't be asked.
        PayloadError: it answers something else.
    """
    asked = await shell.run(nix.invalid_among(paths))
    found = set(nix.parse_store_paths(asked.check(stage, "its store can't be asked").stdout))
    return tuple(path for path in paths if path in found)


async def looks_lacking(
    shell: Shell, paths: tuple[StorePath, ...], stage: str
) -> tuple[StorePath, ...]:
    """Return those of `paths` whose files a store lacks, or has not whole, in their order.

    Nix isn't started. A path that came whole has the time that Nix gives to all,
    and one that was cut off doesn't. Only Nix knows of a whole file whether it is
    valid: that it is remains to be seen.

    Raises:
        CommandError: the files can't be looked at.
    """
    times = file_times(await _look_at(shell, paths, stage))
    return tuple(path for path in paths if times.get(path) != _WHOLE)


async def _look_at(shell: Shell, paths: Sequence[StorePath], stage: str) -> Answer:
    looked = await shell.run(script("stages/whole_paths.sh").with_lines(paths))
    return answer_of(looked, stage, "its store can't be looked at")


def file_times(answer: Answer) -> dict[str, str]:
    """Read from what `whole_paths.sh` answered which files are there, and since when. Pure."""
    lines = (line.partition(" ") for line in answer.every("file"))
    return {path: changed for changed, _, path in lines}


def damage(paths: Sequence[str]) -> str:
    """Say which paths of a host are not as they were built, and what to do. Pure."""
    return f"its store is damaged: {_listed(paths)} is not there as it was built; {REPAIR}"


def _listed(paths: Sequence[str]) -> str:
    """Name the first, and how many there are besides."""
    return f"{paths[0]} and {len(paths) - 1} more" if len(paths) > 1 else paths[0]


async def check_on_disk(shell: Shell, paths: Sequence[StorePath]) -> None:
    """Refuse a store whose database has these paths, if its disk lacks some.

    Their time says nothing: in a NixOS image it is another one than Nix gives
    (make-squashfs.nix sets SOURCE_DATE_EPOCH=0), and the store is sound.

    Raises:
        StageError: it lacks some.
        CommandError: the files can't be looked at.
    """
    if not paths:
        return
    found = file_times(await _look_at(shell, paths, Stage.COPY_CLOSURE))
    damaged = [path for path in paths if path not in found]
    if not damaged:
        return
    raise StageError(
        message=f"its store is damaged: its disk lacks {_listed(damaged)}, which its Nix takes"
        " to be there",
        hint=REPAIR,
        host=shell.host,
        stage=Stage.COPY_CLOSURE,
    )


async def require_system(shell: Shell, system: StorePath) -> None:
    """Make sure that a system which the plan found on a host is still there, and whole.

    Raises:
        StageError: the garbage collector took it, or the store is damaged.
        CommandError: the store can't be asked.
    """
    if not await lacking(shell, (system,), Stage.COPY_CLOSURE):
        await check_on_disk(shell, await _requisites(shell, (system,)))
    else:
        raise StageError(
            message="its system was garbage-collected after planning",
            hint="run the same command again: it will be built",
            host=shell.host,
            stage=Stage.COPY_CLOSURE,
        )


async def missing_paths(
    source: Shell, destination: Shell, paths: tuple[StorePath | DerivationPath, ...]
) -> tuple[StorePath, ...]:
    """Return the paths of the closure that the destination lacks, dependencies first.

    One round trip to each: what the closure is, and what of it is missing.

    Raises:
        CommandError: one of the stores can't be asked.
        PayloadError: one of them answers something else.
    """
    closure = await _requisites(source, paths)
    return await lacking(destination, closure, Stage.COPY_CLOSURE)


async def _requisites(
    shell: Shell, paths: tuple[StorePath | DerivationPath, ...]
) -> tuple[StorePath, ...]:
    """Return the closure of `paths` as a store has it, dependencies first."""
    asked = await shell.run(nix.requisites(paths))
    return nix.parse_store_paths(asked.check(Stage.COPY_CLOSURE, "its store can't be asked").stdout)


def copy_failure(source: str, destination: str, blamed: CommandError) -> CommandError:
    """Make the error of a copy: which side failed, what it said, what to do."""
    return CommandError(
        message=f"copying from {source} to {destination} failed on {blamed.host}",
        hint=hint_for("\n".join(blamed.last_lines)) or COPY_AGAIN,
        host=destination,
        stage=Stage.COPY_CLOSURE,
        command=blamed.command,
        last_lines=blamed.last_lines,
    )
