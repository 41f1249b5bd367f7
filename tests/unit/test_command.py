"""The choke point for commands: quoted once, safe to show, secrets nowhere."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.command import (
    LAST_LINES,
    Command,
    CommandResult,
    last_lines,
    printable,
)

SHOW = ("sh", "-c", 'for word; do printf "%s\\0" "$word"; done', "show")

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
