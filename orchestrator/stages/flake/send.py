"""Send the flake to an evaluator elsewhere: for a controller without Nix.

Only what Nix would see travels: in a git work tree the tracked files. Remote
references stay as they are; the evaluator fetches them itself.
"""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.command import Command
from orchestrator.model.plan import FlakeRef
from orchestrator.model.stage import Stage
from orchestrator.scripts import answer_of, script
from orchestrator.stages.flake.flake import git_work_tree, write_flake
from orchestrator.transport.shell import LocalShell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Inventory
    from orchestrator.model.variant import VariantChoice
    from orchestrator.transport.shell import Shell


async def send_flake(
    shell: Shell, inventory: Inventory, choices: Sequence[VariantChoice], directory: Path
) -> FlakeRef:
    """Write the flake here with the evaluator's paths in it, and send it there.

    The lock file stays on the evaluator, beside the flake: what it has locked is
    what it goes on evaluating.

    Raises:
        CommandError: the evaluator can't store it.
        UsageError: the inventory names no flake.
    """
    project = directory.parent.name
    fleet = inventory.fleet
    flake = await _send_input(shell, f"{project}/user", fleet.flake) if fleet.flake else None
    llama_cpp = await _send_input(shell, f"{project}/llama-cpp", fleet.llama_cpp)
    there = replace(inventory, fleet=replace(fleet, flake=flake, llama_cpp=llama_cpp))
    written = write_flake(directory.with_name(f"flake-on-{shell.host}"), there, choices)
    names = tuple(sorted(path.name for path in written.iterdir()))
    return FlakeRef(await _send(shell, f"{project}/flake", written, names, keep=True))


async def _send_input(shell: Shell, name: str, reference: str) -> str:
    """Send a local flake and give its reference there; leave a remote one alone."""
    if not reference.startswith("/"):
        return reference
    directory = Path(reference)
    sent = await _send(shell, name, directory, await _tracked_files(directory), keep=False)
    return f"path:{sent}"


async def _tracked_files(directory: Path) -> tuple[str, ...]:
    """Return the files that git tracks, or all of them if there is no work tree.

    Raises:
        CommandError: git is missing here, or refuses the work tree: everything
            in it may be more than its owner means to show.
    """
    if git_work_tree(directory) is None:
        return _files_under(directory)
    listed = await LocalShell().run(Command(("git", "-C", str(directory), "ls-files", "-z")))
    names = listed.check(Stage.EVALUATE, "git can't say which files it tracks").stdout.split("\0")
    return tuple(name for name in names if name and _is_there(directory / name))


def _is_there(path: Path) -> bool:
    """Whether a tracked file is still on the disk; Nix leaves out the others as well."""
    return os.path.lexists(path)


def _files_under(directory: Path) -> tuple[str, ...]:
    found = (path for path in directory.rglob("*") if path.is_file() or path.is_symlink())
    return tuple(sorted(str(path.relative_to(directory)) for path in found))


async def _send(
    shell: Shell, name: str, directory: Path, files: tuple[str, ...], *, keep: bool
) -> str:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for file in files:
            archive.add(directory / file, arcname=file, recursive=False)
    what = "keep" if keep else "replace"
    unpack = script("stages/flake/unpack.sh", name=name, what=what)
    result = await shell.run(replace(unpack, stdin=packed.getvalue()))
    answer = answer_of(result, Stage.EVALUATE, "the flake can't be stored there")
    return answer.one("directory", Stage.EVALUATE)
