"""The scripts that let a builder in for one copy, run by a shell in a home of their own."""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from orchestrator.scripts import script

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.command import Command

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOneCopy"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAISomebody you@home\n"


def run(command: Command, home: Path) -> None:
    """Run one of the scripts as a user whose home is there."""
    subprocess.run(command.argv, env={**os.environ, "HOME": str(home)}, check=True)


def authorize(allowed: str, seconds: str) -> Command:
    """Give the command that lets the key in."""
    name = "stages/copy_closure/authorize.sh"
    return script(name, command=allowed, key=KEY, seconds=seconds)


REVOKE = script("stages/copy_closure/revoke.sh", key=KEY)


def authorized(home: Path) -> str:
    """Give what is let in there."""
    return (home / ".ssh/authorized_keys").read_text()


@pytest.mark.parametrize("before", [OTHER, OTHER.rstrip("\n")])
def test_a_key_is_let_in_for_a_while_and_forgotten(tmp_path: Path, before: str) -> None:
    """One line more, which expires; afterwards the file has the others' keys, and its mode."""
    file = tmp_path / ".ssh/authorized_keys"
    file.parent.mkdir()
    file.write_text(before)
    file.chmod(0o640)
    run(authorize(r"echo \"$1\"", "3600"), tmp_path)
    other, ours = authorized(tmp_path).splitlines()
    assert other == OTHER.rstrip("\n")
    found = re.fullmatch(r'restrict,expiry-time="(\d{14})",command="(.*)" (.*)', ours)
    assert found is not None
    expires = time.mktime(time.strptime(found[1], "%Y%m%d%H%M%S"))
    assert 3500 < expires - time.time() < 3700
    assert (found[2], found[3]) == (r"echo \"$1\"", KEY)
    run(REVOKE, tmp_path)
    assert authorized(tmp_path) == OTHER
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_home_without_keys_has_none_afterwards(tmp_path: Path) -> None:
    """A file that was made for the one key goes with it."""
    run(authorize("true", "60"), tmp_path)
    file = tmp_path / ".ssh/authorized_keys"
    assert file.stat().st_mode & 0o777 == 0o600
    run(REVOKE, tmp_path)
    assert list(file.parent.iterdir()) == []
