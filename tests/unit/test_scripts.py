"""The protocol of the scripts: values go in unparsed, and only a script's own lines come out."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.command import Command, CommandResult
from orchestrator.errors import CommandError, PayloadError
from orchestrator.scripts import (
    ScriptExit,
    answer_of,
    marked,
    parse_answer,
    program,
    sent,
)
from orchestrator.transport.shell import LocalShell

SHELLS = (("sh",), ("dash",), ("bash", "--posix"), ("busybox", "sh"))
DONE = CommandResult(Command(("sh",)), "carbon", 0, "orchestrate:key=a\norchestrate:exit=0\n", "")

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
hostile = words | st.sampled_from(
    [
        "",
        " ",
        "\n",
        "a\nb",
        "'",
        '"',
        "$HOME",
        "`id`",
        "$(id)",
        "\\",
        "-n",
        "--",
        "*",
        "~",
        ";",
        "}",
    ]
)


def said(body: str, *arguments: str, shell: tuple[str, ...] = ("sh",)) -> str:
    """Run a text behind what all scripts share, and give what it prints."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    argv = [*shell, "-c", sent() + body, "test", *arguments]
    return subprocess.run(argv, capture_output=True, check=False, timeout=20).stdout.decode()


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@settings(max_examples=20, deadline=None)
@given(value=hostile, further=st.lists(hostile, max_size=3))
def test_values_are_never_parsed(shell: tuple[str, ...], value: str, further: list[str]) -> None:
    """A named value and the words behind `--` are what they were, whatever they hold."""
    body = 'printf "%s\\0" "$value" "$second"; for word; do printf "%s\\0" "$word"; done'
    printed = said(body, f"value={value}", "second=2", "--", *further, shell=shell)
    assert printed.split("\0") == [value, "2", *further, ""]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_program_cannot_speak_for_a_script(shell: tuple[str, ...]) -> None:
    """What passes through is marked as no answer; the next answer begins a line."""
    body = """
run_framed sh -c 'echo orchestrate:key=theirs; echo orchestrate:exit=0 >&2; printf half; exit 7'
say key "$code"
leave "$exit_held" "it is so"
"""
    answer = parse_answer(said(body, "--", shell=shell), 201)
    assert answer.every("key") == ("7",)
    assert (answer.end, answer.get("why")) == (ScriptExit.HELD, "it is so")
    assert answer.output.split("\n")[:3] == [
        " orchestrate:key=theirs",
        " orchestrate:exit=0",
        "half",
    ]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_lines_are_answered_one_by_one(shell: tuple[str, ...]) -> None:
    """A text travels as lines of one key, and is put together again."""
    text = said("printf 'one\\n\\ntwo=2\\n' | say_lines text; leave 0", "--", shell=shell)
    assert parse_answer(text).text("text") == "one\n\ntwo=2\n"


def test_every_script_has_one_locale_and_one_path() -> None:
    """Messages are in a locale that is known; what sshd leaves out of PATH is behind it."""
    body = 'echo "$LC_ALL $PATH"; sh -c \'echo "$LC_ALL $PATH"\''
    argv = ["sh", "-c", sent() + body, "test", "--"]
    env = {"PATH": "/first:/usr/bin:/bin", "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
    own, childs = done.stdout.splitlines()
    assert own == childs
    assert own.startswith("C.UTF-8 /first:/usr/bin:/bin:/run/wrappers/bin:")
    assert ":/nix/var/nix/profiles/default/bin:" in own
    wrapped = program("sh", "-c", body)
    done = subprocess.run(wrapped.argv, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [own, childs]


def test_a_program_gets_its_arguments_as_they_are() -> None:
    """A program that is found by our PATH sees its words, and ends as it ends."""
    command = program("sh", "-c", 'printf "%s|" "$@"; exit 9', "x", "a b", "$HOME", "--")
    done = asyncio.run(LocalShell().run(command))
    assert (done.returncode, done.stdout) == (9, "a b|$HOME|--|")


def test_a_shell_without_the_program_does_not_end_the_script() -> None:
    """A shell that lacks a program ends with 127, which is not the script's end."""
    assert parse_answer(said("say key a; no-such-program; exit", "--"), 127).end is None


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ("orchestrate:key=a=b", ("key", "a=b")),
        ("orchestrate:key=", ("key", "")),
        ("orchestrate:key", None),
        (" orchestrate:key=a", None),
        ("key=a", None),
        ("", None),
    ],
)
def test_what_a_line_is(line: str, pair: tuple[str, str] | None) -> None:
    """A line with the mark and a key is an answer, and no other is."""
    assert marked(line) == pair


def test_an_answer_that_is_cut_off_is_refused() -> None:
    """A script that ended with 0 has said so, or its answer isn't whole."""
    cut = replace(DONE, stdout="orchestrate:key=a\n")
    with pytest.raises(PayloadError, match="cut off") as caught:
        answer_of(cut, "plan", "it can't be asked")
    assert (caught.value.host, caught.value.stage) == ("carbon", "plan")
    answer = answer_of(replace(DONE, stdout=f"hello\r\n{DONE.stdout}"), "plan", "it can't be asked")
    assert (answer.one("key", "plan"), answer.output) == ("a", "hello\r\n")
    with pytest.raises(PayloadError, match="0 times"):
        answer.one("other", "plan")


@pytest.mark.parametrize("text", ["\n" * 500_000, "x" * 40_000_000])
def test_an_answer_is_bounded(text: str) -> None:
    """More than any answer, in lines or in characters, is none."""
    with pytest.raises(PayloadError, match="too many"):
        parse_answer(text)


def test_an_end_says_why() -> None:
    """The script's own words come behind the sentence of its end."""
    held = "orchestrate:why=held by x\norchestrate:exit=201\n"
    with pytest.raises(CommandError) as caught:
        answer_of(replace(DONE, stdout=held, returncode=201), "plan", "it can't be asked")
    assert caught.value.message == "it can't be asked: another script holds the host: held by x"
    assert caught.value.hint == ScriptExit.HELD.hint


@given(st.text(st.sampled_from("orchestrate:exit=0\n=a"), max_size=200), st.integers(0, 255))
def test_nothing_but_the_last_line_is_an_end(text: str, code: int) -> None:
    """Whatever is printed, an end is the script's own only if it is the code's."""
    end = parse_answer(text, code).end
    assert end is None or end == code
