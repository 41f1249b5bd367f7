"""Becoming root: by the program that the inventory names, with no secret in sight."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from inventory.host import Become, BecomeMethod
from orchestrator.command import Command, CommandResult
from orchestrator.errors import UsageError
from orchestrator.transport.become import elevated

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "correct horse battery staple"  # noqa: S105 - a test's


@pytest.mark.parametrize(
    ("become", "password", "argv"),
    [
        (Become(), None, ("id", "-u")),
        (Become(), PASSWORD, ("id", "-u")),
        (Become(BecomeMethod.SUDO), None, ("sudo", "-n", "-u", "root", "--", "id", "-u")),
        (Become(BecomeMethod.DOAS), None, ("doas", "-n", "-u", "root", "id", "-u")),
        (
            Become(BecomeMethod.RUN0),
            None,
            ("run0", "--no-ask-password", "--user=root", "--", "id", "-u"),
        ),
    ],
)
def test_how_privilege_is_gained(
    become: Become, password: str | None, argv: tuple[str, ...]
) -> None:
    """Each method has its program in front, and never asks on a terminal."""
    assert elevated(Command(("id", "-u")), become, password).argv == argv


@pytest.mark.parametrize("remembers", [True, False])
def test_a_password_never_reaches_the_command(tmp_path: Path, remembers: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Whether sudo asks or still remembers, the command reads only its own input."""
    sudo = tmp_path / "sudo"
    sudo.write_text(_SUDO_THAT_REMEMBERS if remembers else _SUDO_THAT_ASKS)
    sudo.chmod(0o755)
    command = elevated(Command(("cat",), stdin=b"rest"), Become(BecomeMethod.SUDO), PASSWORD)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        command.argv, input=command.stdin, env=path, capture_output=True, check=True
    )
    assert done.stdout == b"rest"


# As much of sudo as matters here: options up to `--`, then the command.
_SUDO_THAT_REMEMBERS = """#!/bin/sh
while [ "$1" != -- ] && [ "$1" != true ]; do shift; done
[ "$1" = true ] || shift
exec "$@"
"""
_SUDO_THAT_ASKS = f"""#!/bin/sh
case "$*" in "-n "*) exit 1 ;; esac
while [ "$1" != -- ]; do shift; done
shift
IFS= read -r answer
[ "$answer" = '{PASSWORD}' ] || exit 1
exec "$@"
"""


def test_a_password_goes_before_what_the_command_reads() -> None:
    """Sudo takes its line from stdin first, the command gets the rest."""
    command = elevated(Command(("cat",), stdin=b"rest"), Become(BecomeMethod.SUDO), PASSWORD)
    assert command.stdin == f"{PASSWORD}\nrest".encode()


def test_an_elevated_command_keeps_its_environment() -> None:
    """A variable reaches the command itself: sudo and doas drop their own environment."""
    command = Command(("true",), environment=(("NIX_REMOTE", "daemon"),))
    for method in (BecomeMethod.SUDO, BecomeMethod.DOAS, BecomeMethod.RUN0):
        line = elevated(command, Become(method)).line()
        assert line.index(method.value) < line.index("env NIX_REMOTE=daemon")


@pytest.mark.parametrize("method", [BecomeMethod.DOAS, BecomeMethod.RUN0])
def test_a_method_that_takes_no_password(method: BecomeMethod) -> None:
    """A password for it is refused before anything runs, with what to do instead."""
    with pytest.raises(UsageError, match=method.value) as caught:
        elevated(Command(("id",)), Become(method), PASSWORD)
    assert caught.value.hint
    assert PASSWORD not in str(caught.value)


def test_a_password_shows_nowhere() -> None:
    """Neither repr, nor the line, nor an error of an elevated command has the password."""
    command = elevated(Command(("id",)), Become(BecomeMethod.SUDO), PASSWORD)
    result = CommandResult(command, "carbon", 1, "", "sudo: a password is required")
    error = result.failure("switch")
    for shown in (repr(command), command.line(), repr(result), str(error), repr(error)):
        assert PASSWORD not in shown
    assert "orchestrate_become_password_file" in error.hint
