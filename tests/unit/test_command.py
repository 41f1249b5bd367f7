"""The choke point for commands: quoted once, safe to show, secrets nowhere."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.host import Become, BecomeMethod
from orchestrator.command import (
    LAST_LINES,
    Command,
    CommandResult,
    elevated,
    last_lines,
    printable,
    script,
)
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

SHOW = ("sh", "-c", 'for word; do printf "%s\\0" "$word"; done', "show")
PASSWORD = "correct horse battery staple"  # noqa: S105 - a test's

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
hostile = words | st.sampled_from(
    ["", " ", "\n", "a\nb", "'", '"', "$HOME", "`id`", "$(id)", "\\", "-n", "*", "~", "!", "#", ";"]
)


def through_shell(command: Command) -> str:
    """Let a real shell read a command's line, and give what it prints."""
    done = subprocess.run(["sh", "-c", command.line()], capture_output=True, check=True, timeout=20)
    return done.stdout.decode()


@settings(max_examples=60, deadline=None)
@given(st.lists(hostile, max_size=5))
def test_a_shell_reads_back_the_very_arguments(arguments: list[str]) -> None:
    """Whatever an argument holds, the shell hands it on as it is."""
    printed = through_shell(Command((*SHOW, *arguments)))
    assert printed == "".join(f"{argument}\0" for argument in arguments)


@settings(max_examples=30, deadline=None)
@given(hostile)
def test_a_shell_reads_back_the_environment(value: str) -> None:
    """A variable of a command has its very value in the process."""
    command = Command(("sh", "-c", 'printf %s "$VALUE"'), environment=(("VALUE", value),))
    assert through_shell(command) == value


@settings(max_examples=30, deadline=None)
@given(st.lists(hostile, max_size=4))
def test_a_scripts_arguments_are_never_parsed(arguments: list[str]) -> None:
    """A script sees its values as positional arguments, whatever they hold."""
    command = script('for word; do printf "%s\\0" "$word"; done', *arguments)
    assert through_shell(command) == "".join(f"{argument}\0" for argument in arguments)


@given(st.text())
def test_nothing_moves_the_cursor(text: str) -> None:
    """A line that is shown has no control character, no separator and no bidi mark."""
    shown = printable(text)
    assert all(char.isprintable() or char == "\t" for char in shown)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb", "a\\rb"),
        ("\u202egpj", "\\u202egpj"),
        ("Größe 3 µm", "Größe 3 µm"),
        ("x" * 600, "x" * 500 + "…"),
    ],
)
def test_how_a_line_is_shown(line: str, shown: str) -> None:
    """Control characters are spelled out, letters stay, a long line is cut."""
    assert printable(line) == shown


@given(st.text(st.sampled_from("ab \n\r\x1b\u2028"), max_size=300))
def test_last_lines_are_bounded(text: str) -> None:
    """At most fifteen lines are kept, none of them empty, none over its length."""
    kept = last_lines(text)
    assert len(kept) <= LAST_LINES
    assert all(line.strip() for line in kept)


def test_last_lines_are_the_last() -> None:
    """The end of an output is kept, in its order."""
    assert last_lines("".join(f"{number}\n\n" for number in range(100)), 3) == ("97", "98", "99")


@pytest.mark.parametrize(
    ("become", "password", "argv"),
    [
        (Become(), None, ("id", "-u")),
        (Become(), PASSWORD, ("id", "-u")),
        (Become(BecomeMethod.SUDO), None, ("sudo", "-n", "-u", "root", "--", "id", "-u")),
        (Become(BecomeMethod.DOAS), None, ("doas", "-n", "-u", "root", "id", "-u")),
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
    for method in (BecomeMethod.SUDO, BecomeMethod.DOAS):
        line = elevated(command, Become(method)).line()
        assert line.index(method.value) < line.index("env NIX_REMOTE=daemon")


def test_doas_takes_no_password() -> None:
    """A password for doas is refused before anything runs, with what to do instead."""
    with pytest.raises(UsageError, match="doas") as caught:
        elevated(Command(("id",)), Become(BecomeMethod.DOAS), PASSWORD)
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


def test_a_failure_tells_of_its_command() -> None:
    """An error has exit code, host, stage, the line to paste, and stderr before stdout."""
    result = CommandResult(Command(("nix", "build", "a b")), "boron", 2, "out\n", "err\n")
    error = result.failure("build", "it failed")
    assert error.message == "it failed (exit code 2)"
    assert (error.host, error.stage) == ("boron", "build")
    assert error.command == "nix build 'a b'"
    assert error.last_lines == ("err",)
    silent = CommandResult(Command(("nix",)), "boron", 2, "out\n", " \n")
    assert silent.failure("build").last_lines == ("out",)
