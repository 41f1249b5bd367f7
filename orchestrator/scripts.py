"""Shell scripts that run on the hosts: arguments by name, one form of answer, one list of ends.

A script lies in the room that runs it. Its head names its arguments, a line each
(`# $name: what it is`; `# $@: …` for further words), and it is sent after
`environment.sh` and `protocol.sh`, which lie beside this file. What it answers are lines
`orchestrate:key=value` on standard output, the last of them `exit`; anything else there
was printed by the programs that it runs.

An exit code is the script's own only if that last line says the same. So what sudo, a
shell without the program (126, 127), a signal or ssh ends with is never read as ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Self

from orchestrator.command import Command, last_lines
from orchestrator.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.command import CommandResult
    from orchestrator.errors import CommandError
    from orchestrator.model.store import StorePath

MARK = "orchestrate:"

# Far above any answer: a store of 10,000 paths answers with 2 MiB.
_LONGEST_ANSWER = 32 * 2**20
_MOST_LINES = 400_000
_LONGEST_QUOTE = 120

_DECLARED = re.compile(r"^# \$(\w+|@): ", re.MULTILINE)


class ScriptExit(IntEnum):
    """How a script of ours ends; each code means one thing in all of them.

    The numbers are free: switch-to-configuration ends with 0 to 4, 11, 100 and any errno,
    nix-store with 100 to 107, timeout with 124, shells with 126, 127 and 128 + signal,
    ssh with 255.
    """

    sentence: str
    hint: str

    def __new__(cls, code: int, sentence: str, hint: str = "") -> Self:
        """Make a code with what it says to the user, and what to do next."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        member.hint = hint
        return member

    DONE = 0, "it ended well"
    UNWRITABLE = 200, "a file that it needs can't be written there", "look at its disks: df -h"
    HELD = (
        201,
        "another script holds the host",
        "wait for it or, if it hangs, kill it there; then run the command again",
    )
    DRIFTED = (
        202,
        "another system runs there than this run expects: something else changed it",
        "run the command again: it plans with what runs there now",
    )
    BOOT_DRIFTED = (
        203,
        "another system is the boot default there than when the plan was made",
        "run the command again: it plans with what boots there now",
    )
    NOT_NIXOS = (
        204,
        "the path to activate is not a NixOS system",
        "look at its bin/switch-to-configuration",
    )
    UNARMED = (
        205,
        "the automatic rollback can't be armed, so nothing was activated",
        "look there: journalctl -b -e; systemd-run must work",
    )
    GIVEN_UP = (
        206,
        "this run has been rolled back on the host, so nothing was done",
        "run the command again: it begins a new run",
    )
    WENT_BACK = (
        207,
        "not confirmed in time: the host had already rolled itself back",
        "if activation and smoke test need longer, raise orchestrate_confirm_timeout",
    )
    GOES_ON = (
        208,
        "the activation did not end in time",
        "what it waits for may be in journalctl -b -e there",
    )
    STOPPED = 209, "the activation was stopped before its end", "look there: journalctl -b -e"
    ACTIVATION_FAILED = 210, "the activation failed", "look there: journalctl -b -e"
    NOT_ACTIVATED = (
        211,
        "systemd can't begin the activation",
        "look there: systemctl status; systemd-run must work",
    )
    PROFILE_UNSET = (
        212,
        "the system profile can't be set",
        "look at its disks: df -h; then run the command again",
    )
    NOT_DEFAULT = (
        213,
        "the activation ended well, and another system runs or boots than it should",
        "look there: journalctl -b -e",
    )
    NOT_BEGUN = 214, "this run has not begun to change the host"
    REBOOTED = (
        215,
        "the host has rebooted since the plan was made",
        "look at its console, and at journalctl -b -1 -e there",
    )
    BUILD_UNSTARTED = (
        216,
        "the build can't be started there",
        "look there: systemctl status; systemd-run must work",
    )
    BUILD_DIED = 217, "the build was killed before its end", "look there: journalctl -k -e"
    DAMAGED = 218, "it arrived damaged", "run the command again"
    NIX_FAILED = 219, "Nix there does not answer", "look there: systemctl status nix-daemon"
    UNREADABLE = 220, "the files of its store can't be looked at", "look at its disks: df -h"
    BOOT_LOADER_FAILED = (
        221,
        "what booted before can't be made the boot default again",
        "look there: journalctl -b -e",
    )
    UNSTOPPED = 222, "the build can't be ended", "end its processes there: kill"
    BUSY = (
        223,
        "another activation is under way there, so nothing was done",
        "wait for its end, then run the command again",
    )
    NOT_SWITCHABLE = (
        224,
        "the new system has no switch-to-configuration: its system.switch.enable is false",
        "set it to true in the machine's configuration, or install that system another way",
    )
    UNUSABLE = (
        225,
        "the system's own programs don't run there",
        "look at what it was built for: nixpkgs.hostPlatform and its gcc.arch",
    )


_ENDS = {end.value: end for end in ScriptExit}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script has answered, and what its programs have printed beside it.

    Args:
        pairs: key and value of each line, in their order.
        output: every other line.
        end: how it ended; None if the exit code isn't its own.
    """

    pairs: tuple[tuple[str, str], ...]
    output: str
    end: ScriptExit | None

    def every(self, key: str) -> tuple[str, ...]:
        """Return the values of a key that may repeat."""
        return tuple(value for name, value in self.pairs if name == key)

    def get(self, key: str) -> str:
        """Return the last value of a key; empty if there is none."""
        return (self.every(key) or ("",))[-1]

    def text(self, key: str) -> str:
        """Return the text whose lines were answered as `key`."""
        return "".join(f"{line}\n" for line in self.every(key))

    def one(self, key: str, stage: str) -> str:
        """Return the value of a key that must be there once.

        Raises:
            PayloadError: it isn't.
        """
        values = self.every(key)
        if len(values) != 1:
            message = f"a script answered {key} {len(values)} times instead of once"
            raise PayloadError(message, stage=stage)
        return values[0]


@cache
def text_of(name: str) -> str:
    """Read a script by its place in `orchestrator/`, such as `stages/facts/facts.sh`."""
    return files("orchestrator").joinpath(*name.split("/")).read_text(encoding="utf-8")


@cache
def declared(name: str) -> frozenset[str]:
    """Read which arguments the head of a script names; `@` stands for further words."""
    return frozenset(_DECLARED.findall(text_of(name).partition("\n\n")[0]))


def sent(*names: str) -> str:
    """Join scripts to what all of them share: the text that a shell runs."""
    codes = "".join(f"exit_{end.name.lower()}={end.value}\n" for end in ScriptExit)
    shared = text_of("environment.sh") + codes + text_of("protocol.sh")
    return shared + "".join(map(text_of, names))


def words_for(name: str, words: tuple[str, ...], arguments: Mapping[str, str]) -> tuple[str, ...]:
    """Build the words by which a script is given its arguments.

    Raises:
        TypeError: they are not the ones that its head names.
    """
    given = arguments.keys() | ({"@"} if words else set())
    if given - {"@"} != declared(name) - {"@"} or not given <= declared(name):
        message = f"{name} takes {sorted(declared(name))}, and was given {sorted(given)}"
        raise TypeError(message)
    return (*(f"{key}={value}" for key, value in arguments.items()), "--", *words)


def script(
    name: str,
    /,
    *words: str,
    timeout: float | None = None,
    shared: str = "",
    tools: StorePath | None = None,
    **arguments: str,
) -> Command:
    """Build the command that runs a script of ours.

    The text is one word and each argument another, so that no value is ever parsed as
    shell.

    Args:
        name: its place in `orchestrator/`.
        words: further arguments, if its head has `$@`.
        timeout: seconds until it is killed.
        shared: a script whose functions it uses.
        tools: the system whose programs run it, the shell first; None for the PATH's.
        arguments: by the names that its head gives them.
    """
    text = sent(*filter(None, (shared, name)))
    given = words_for(name, words, arguments)
    shell = "sh"
    if tools is not None:
        shell = f"{tools}/sw/bin/sh"
        given = (f"tools={tools}", *given)
    return Command((shell, "-c", text, "orchestrate", *given), timeout=timeout)


def program(*argv: str, timeout: float | None = None) -> Command:
    """Build the command that runs a program as scripts find theirs: by our PATH, in our locale.

    A true one-liner: it has no answer and no ends of its own.
    """
    lines = (line for line in text_of("environment.sh").splitlines() if not line.startswith("#"))
    text = "".join(f"{line}\n" for line in lines) + 'exec "$@"'
    return Command(("sh", "-c", text, "orchestrate", *argv), timeout=timeout)


def marked(line: str) -> tuple[str, str] | None:
    """Read a line as a key and its value; None if it isn't a script's."""
    if not line.startswith(MARK):
        return None
    key, equals, value = line.removeprefix(MARK).partition("=")
    return (key, value) if equals else None


def parse_answer(text: str, returncode: int = 0) -> Answer:
    """Read what a script has printed.

    Raises:
        PayloadError: it is larger than any answer.
    """
    pairs: list[tuple[str, str]] = []
    output = []
    lines = text.split("\n")
    if len(text) > _LONGEST_ANSWER or len(lines) > _MOST_LINES:
        message = f"a script answered {len(text)} characters in {len(lines)} lines: too many"
        raise PayloadError(message)
    for line in lines:
        pair = marked(line.removesuffix("\r"))
        if pair is None:
            output.append(line)
        else:
            pairs.append(pair)
    ours = pairs[-1:] == [("exit", str(returncode))]
    end = _ENDS.get(returncode) if ours else None
    return Answer(tuple(pairs), "\n".join(output), end)


def read(result: CommandResult) -> Answer:
    """Read the answer of a script, however it ended.

    Raises:
        PayloadError: it is larger than any answer.
    """
    return parse_answer(result.stdout, result.returncode)


def answer_of(result: CommandResult, stage: str, failed: str) -> Answer:
    """Read the answer of a script that has to have ended well.

    Args:
        result: how it ended.
        stage: who asks.
        failed: what it means that it ended badly.

    Raises:
        CommandError: it ended badly.
        PayloadError: it was cut off, or isn't the script's.
    """
    answer = read(result)
    if result.returncode != 0:
        raise failure(result, answer, stage, failed)
    if answer.end is None:
        shown = last_lines(result.stdout, 1)
        message = f"its answer is cut off, after {''.join(shown)[:_LONGEST_QUOTE]!r}"
        hint = "look at what its login shell prints, then run the command again"
        raise PayloadError(message, hint=hint, host=result.host, stage=stage)
    return answer


def failure(result: CommandResult, answer: Answer, stage: str, failed: str) -> CommandError:
    """Make the error of a script that ended badly, without its text, which is long."""
    error = result.failure(stage, failed)
    error.command = ""
    lines = last_lines(result.stderr) or last_lines(answer.output)
    error.last_lines = lines
    if (end := answer.end) is not None:
        why = answer.get("why")
        error.message = f"{failed}: {end.sentence}" + (f": {why}" if why else "")
        error.hint = error.hint or end.hint
    return error
