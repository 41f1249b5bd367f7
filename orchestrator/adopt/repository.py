"""The git work tree that is adopted: what it tracks, whether it is clean, and the writing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.command import Command
from orchestrator.errors import UsageError
from orchestrator.model.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.adopt.draft import Change
    from orchestrator.transport.shell import Shell


async def tracked_files(shell: Shell, root: Path) -> tuple[str, ...]:
    """Return the Nix files that git tracks in a directory, which are all that a flake sees.

    Raises:
        UsageError: it is in no git work tree.
    """
    result = await shell.run(_git(root, "ls-files", "-z", "--", "*.nix"))
    if result.returncode != 0:
        message = f"{root} is in no git work tree"
        raise UsageError(message, hint="git init && git add --all && git commit")
    return tuple(sorted(path for path in result.stdout.split("\0") if path))


async def require_clean(shell: Shell, root: Path) -> None:
    """Refuse a tree with changes of the user's own: git couldn't tell them from ours.

    Raises:
        UsageError: there are some.
    """
    result = (await shell.run(_git(root, "status", "--porcelain", "--", "."))).check(Stage.ADOPT)
    if result.stdout.strip():
        first = "\n".join(result.stdout.splitlines()[:5])
        message = f"{root} has changes that are not committed:\n{first}"
        raise UsageError(message, hint="commit them, or `git stash -u`, then adopt again")


async def write(shell: Shell, root: Path, changes: Sequence[Change]) -> tuple[str, ...]:
    """Write the changes, and add new files to git's index: a flake sees no others.

    Returns:
        the new files, added by `git add --intent-to-add`: their content is not staged.
    """
    for change in changes:
        file = (root / change.path).resolve()
        if change.after is None:
            (root / change.path).unlink()
        else:
            _write_whole(file, change.after)
    new = tuple(change.path for change in changes if change.before is None)
    if new:
        (await shell.run(_git(root, "add", "--intent-to-add", "--", *new))).check(Stage.ADOPT)
    return new


def _write_whole(file: Path, text: bytes) -> None:
    """Write a file whole or not at all, with the permissions that it had."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(text)
    if file.exists():
        partial.chmod(file.stat().st_mode)
    partial.replace(file)


def _git(root: Path, *arguments: str) -> Command:
    return Command(("git", "-C", str(root), *arguments))
