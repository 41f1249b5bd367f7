"""What of a user's flake travels to an evaluator elsewhere."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inventory.host import Fleet, Inventory
from orchestrator.errors import CommandError
from orchestrator.stages.flake.send import send_flake
from orchestrator.transport.shell import LocalShell

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from orchestrator.command import Command, CommandResult
    from orchestrator.transport.shell import Stream


@dataclass(frozen=True)
class Elsewhere:
    """A host that is a directory here: its commands run with their own HOME."""

    home: Path
    host: str = "boron"

    def as_root(self, command: Command) -> Command:
        """Return the command itself."""
        return command

    async def run_as_root(self, command: Command) -> CommandResult:
        """Run as there."""
        return await self.run(command)

    async def run(self, command: Command) -> CommandResult:
        """Run as there."""
        return await LocalShell(self.host).run(self._there(command))

    def open(self, command: Command) -> AbstractAsyncContextManager[Stream]:
        """Start as there."""
        return LocalShell(self.host).open(self._there(command))

    def _there(self, command: Command) -> Command:
        return replace(command, environment=(("HOME", str(self.home)),))


def git(directory: Path, *arguments: str) -> None:
    """Run git in a work tree."""
    subprocess.run(["git", "-C", str(directory), *arguments], check=True, capture_output=True)


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """Make a user's flake in a git work tree, with a secret that git ignores."""
    flake = tmp_path / "user flake"
    (flake / "machines").mkdir(parents=True)
    (flake / "flake.nix").write_text("{ outputs = _: { }; }")
    (flake / "machines" / "carbon.nix").write_text("{ }")
    (flake / "machines" / "default.nix").symlink_to("carbon.nix")
    (flake / ".gitignore").write_text("secret.key\n")
    git(flake, "init", "-q")
    git(flake, "add", ".")
    (flake / "secret.key").write_text("hunter2")
    (flake / "untracked.nix").write_text("{ }")
    return flake


def send(tmp_path: Path, flake: Path) -> Path:
    """Send a flake and give the directory where it arrived."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    inventory = Inventory("hosts.yml", (), {}, Fleet(flake=str(flake)))
    project = tmp_path / "projects" / "lab-123"
    asyncio.run(send_flake(Elsewhere(home), inventory, (), project / "flake"))
    return home / ".cache" / "orchestrate" / "lab-123" / "user"


def names(directory: Path) -> set[str]:
    """Give everything under a directory that isn't one."""
    found = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return {str(path.relative_to(directory)) for path in found}


TRACKED = {".gitignore", "flake.nix", "machines/carbon.nix", "machines/default.nix"}


def test_only_tracked_files_travel(tmp_path: Path, user: Path) -> None:
    """What git ignores or doesn't know, and git's own directory, stay here."""
    assert names(send(tmp_path, user)) == TRACKED


def test_symlinks_stay_symlinks(tmp_path: Path, user: Path) -> None:
    """A link arrives as the link it is, also one that leads nowhere."""
    (user / "machines" / "nowhere.nix").symlink_to("gone.nix")
    git(user, "add", ".")
    there = send(tmp_path, user)
    assert str((there / "machines" / "default.nix").readlink()) == "carbon.nix"
    assert str((there / "machines" / "nowhere.nix").readlink()) == "gone.nix"


def test_a_deleted_file_is_left_out(tmp_path: Path, user: Path) -> None:
    """A tracked file that is gone from the disk doesn't travel, and stops nothing."""
    (user / "machines" / "carbon.nix").unlink()
    there = send(tmp_path, user)
    assert names(there) == TRACKED - {"machines/carbon.nix"}


def test_what_is_gone_here_goes_there(tmp_path: Path, user: Path) -> None:
    """A second sending replaces the first: no file of the earlier one remains."""
    send(tmp_path, user)
    git(user, "rm", "-qf", "machines/default.nix")
    assert names(send(tmp_path, user)) == TRACKED - {"machines/default.nix"}


def test_a_flake_in_a_folder_of_a_work_tree_travels_alone(tmp_path: Path, user: Path) -> None:
    """Of a larger work tree, only the folder's tracked files travel."""
    assert names(send(tmp_path, user / "machines")) == {"carbon.nix", "default.nix"}


def test_without_git_everything_travels(tmp_path: Path) -> None:
    """A folder outside any work tree travels whole, dangling links too."""
    flake = tmp_path / "plain"
    flake.mkdir()
    (flake / "flake.nix").write_text("{ }")
    (flake / "link").symlink_to("/nowhere/at/all")
    assert names(send(tmp_path, flake)) == {"flake.nix", "link"}


def test_a_work_tree_that_git_refuses_is_an_error(tmp_path: Path, user: Path) -> None:
    """Where git can't say what is tracked, nothing travels: a secret may be among it."""
    (user / ".git" / "HEAD").write_text("broken")
    with pytest.raises(CommandError, match="which files it tracks"):
        send(tmp_path, user)
    assert not (tmp_path / "home" / ".cache").exists()


def test_a_remote_reference_stays_as_it_is(tmp_path: Path) -> None:
    """The evaluator fetches a remote flake itself."""
    inventory = Inventory("hosts.yml", (), {}, Fleet(flake="github:example/fleet"))
    (tmp_path / "home").mkdir()
    directory = tmp_path / "projects" / "lab-123" / "flake"
    sent = asyncio.run(send_flake(Elsewhere(tmp_path / "home"), inventory, (), directory))
    assert sent.directory.endswith("lab-123/flake")
    assert "github:example/fleet" in (tmp_path / "home" / sent.directory / "flake.nix").read_text()
