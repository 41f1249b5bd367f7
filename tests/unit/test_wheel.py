"""What is installed: one top-level name, and no file of a user's is taken for ours."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the wheel of this checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder in which the wheel is installed."""
    target = tmp_path_factory.mktemp("installed")
    argv = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*argv, str(wheel)], check=True, capture_output=True)
    return target


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Give a user's folder whose own modules have the names of our packages."""
    (tmp_path / "inventory").mkdir()
    for file in ("tasks.py", "inventory/__init__.py"):
        (tmp_path / file).write_text("raise SystemExit('a file of the user was imported')\n")
    return tmp_path


def run(installed: Path, hostile: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the user's folder, whose modules come first on the path."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{hostile}:{installed}",
        "XDG_STATE_HOME": str(hostile / "state"),
    }
    return subprocess.run(
        argv, cwd=hostile, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_wheel_has_one_name_at_its_top(wheel: Path) -> None:
    """Beside its metadata there is `orchestrator`, with all that the checkout's parts bring."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"orchestrator"}
    for place in ("tasks/keeper.py", "inventory/read.py", "stages/activate/switch.sh"):
        assert f"orchestrator/{place}" in names
    for file in (ROOT / "flake-template").rglob("*"):
        assert file.is_dir() or f"orchestrator/{file.relative_to(ROOT)}" in names


@pytest.mark.parametrize("args", [("--help",), ("flake", "check", "--help"), ("worker", "--help")])
def test_its_commands_run_beside_a_users_own_modules(
    installed: Path, hostile: Path, args: tuple[str, ...]
) -> None:
    """The command imports its own packages, whatever lies where it is called."""
    done = run(installed, hostile, str(installed / "bin" / "orchestrate"), *args)
    assert done.returncode == 0, done.stderr
    assert "Usage: orchestrate" in done.stdout


def test_it_reads_an_inventory_and_starts_its_own_server(installed: Path, hostile: Path) -> None:
    """What the command starts finds its files too: `history` has a server and no run."""
    command = str(installed / "bin" / "orchestrate")
    missing = run(installed, hostile, command, "plan")
    assert missing.returncode == 2
    assert "no inventory at inventory.yml" in missing.stderr
    assert run(installed, hostile, command, "init", "carbon=192.0.2.1").returncode == 0
    history = run(installed, hostile, command, "history")
    assert (history.returncode, history.stdout, history.stderr) == (0, "", "")


def test_nothing_of_it_is_imported_by_another_name(installed: Path, hostile: Path) -> None:
    """All that a worker and an engine import is inside `orchestrator`."""
    program = (
        "import sys; import orchestrator.cli.engine, orchestrator.tasks.steps\n"
        "from orchestrator.tasks.app import make_app\n"
        "assert make_app('redis://').conf.include == ['orchestrator.tasks.steps']\n"
        "print({'tasks', 'inventory'} & sys.modules.keys())"
    )
    done = run(installed, hostile, sys.executable, "-c", program)
    assert (done.stdout.strip(), done.returncode) == ("set()", 0), done.stderr


def test_the_script_for_ansible_is_there(installed: Path, hostile: Path) -> None:
    """The dynamic inventory finds the package that it was installed with."""
    run(installed, hostile, str(installed / "bin" / "orchestrate"), "init", "carbon=192.0.2.1")
    script = installed / "orchestrator" / "ansible-compat" / "orchestrate_inventory.py"
    done = run(installed, hostile, sys.executable, str(script), "--host", "carbon")
    assert done.returncode == 0, done.stderr
    assert "192.0.2.1" in done.stdout
