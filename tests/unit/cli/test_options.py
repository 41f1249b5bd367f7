"""How a command line is taken: the same options before a command and after it."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from orchestrator.cli import options
from orchestrator.cli.main import orchestrate

COMMANDS = [*orchestrate.list_commands(click.Context(orchestrate))]


def run(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command line as a user does."""
    argv = [sys.executable, "-m", "orchestrator", *args]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=env)


@pytest.mark.parametrize(
    "args",
    [
        ("-i", "named.yml", "plan"),
        ("plan", "-i", "named.yml"),
        ("-i", "other.yml", "plan", "-i", "named.yml"),
        ("--inventory", "named.yml", "flake", "check"),
        ("flake", "-i", "named.yml", "check"),
        ("-i", "other.yml", "flake", "check", "--inventory=named.yml"),
    ],
)
def test_the_inventory_is_named_before_the_command_or_after_it(args: tuple[str, ...]) -> None:
    """Either place does, and the later one wins."""
    done = run(*args)
    assert done.returncode == 2
    assert "no inventory at named.yml" in done.stderr


def test_the_command_line_wins_over_the_environment() -> None:
    """ORCHESTRATE_INVENTORY holds only if no inventory is named, in either place."""
    env = {"ORCHESTRATE_INVENTORY": "of-the-environment.yml"}
    assert "no inventory at of-the-environment.yml" in run("plan", env=env).stderr
    assert "no inventory at named.yml" in run("-i", "named.yml", "plan", env=env).stderr


@pytest.mark.parametrize("args", [("--debug", "plan"), ("plan", "--debug")])
def test_debug_adds_a_traceback_and_keeps_the_exit_code(args: tuple[str, ...]) -> None:
    """A usage error is exit code 2 with --debug as without, and its message comes last."""
    done = run(*args, "-i", "none.yml")
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert "next: make one with `orchestrate init`" in done.stderr.splitlines()[-1]
    assert "Traceback" not in run("plan", "-i", "none.yml").stderr


def test_a_defect_is_exit_code_1_with_and_without_debug(tmp_path: Path) -> None:
    """An unforeseen error says to run it with --debug, and then shows where it was."""
    program = tmp_path / "breaking.py"
    program.write_text(
        "import sys\n"
        "from orchestrator.cli import invocation, main\n"
        "def broken(self): raise ValueError('unforeseen')\n"
        "invocation.Invocation.hosts = property(broken)\n"
        "main.main()\n"
    )
    for debug in ((), ("--debug",)):
        argv = [sys.executable, str(program), "facts", *debug]
        env = {"PYTHONPATH": str(Path(options.__file__).parents[2])}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 1, done.stderr
        assert "a defect: ValueError: unforeseen" in done.stderr
        assert ("Traceback" in done.stderr) == bool(debug)


@pytest.mark.parametrize("command", ["deploy", "plan", "build", "upgrade"])
@pytest.mark.parametrize("spelling", ["--input", "--update-input"])
def test_an_input_is_locked_anew_by_either_name(command: str, spelling: str) -> None:
    """`--update-input` and `--input` are one option, wherever an input is locked."""
    done = run(command, spelling, "llama-cpp", "-i", "none.yml")
    assert "no inventory at none.yml" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_an_inventory_and_debug_and_has_help(name: str) -> None:
    """A list of parameters leaves out none that all commands share."""
    context = click.Context(orchestrate)
    command = orchestrate.get_command(context, name)
    assert command is not None
    assert command.help
    assert {options.INVENTORY, options.DEBUG} <= set(command.params)


def test_no_option_is_made_twice() -> None:
    """Two options of one name in different commands are one object, made in options.py."""
    # `--input` has its own default in `upgrade`, and `--goal` its own choices.
    own = {"goal", "update_inputs"}
    context = click.Context(orchestrate)
    by_name: dict[str, set[int]] = {}
    for name in COMMANDS:
        command = orchestrate.get_command(context, name)
        assert command is not None
        for param in command.params:
            if isinstance(param, click.Option) and param.name not in own:
                by_name.setdefault(str(param.name), set()).add(id(param))
    assert {name for name, made in by_name.items() if len(made) > 1} == set()


def test_commands_are_imported_when_they_are_asked_for() -> None:
    """What every start pays is click and our own errors, and no ssh, Celery or msgspec."""
    program = (
        "import sys; import orchestrator.cli.main;"
        " print([name for name in ('asyncssh', 'celery', 'redis', 'structlog', 'msgspec')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert import_module("orchestrator.cli.main").orchestrate is orchestrate
