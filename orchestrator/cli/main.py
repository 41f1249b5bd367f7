"""`orchestrate`: the commands, and how errors become messages and exit codes.

Exit codes: 0 all good; 1 a defect of this program; 2 usage or configuration,
nothing was touched; 3 some hosts failed or were rolled back; 4 a host needs
manual repair, or the run was interrupted and `orchestrate resume` goes on.
"""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from orchestrator.cli import startup
from orchestrator.errors import OrchestrateError

_COMMANDS = (
    "init",
    "adopt",
    "trust",
    "doctor",
    "facts",
    "flake",
    "plan",
    "build",
    "deploy",
    "upgrade",
    "resume",
    "pause",
    "continue",
    "cancel",
    "smoke",
    "rollback",
    "status",
    "history",
    "show",
    "logs",
    "unlock",
    "worker",
    "workers",
)


_ELSEWHERE = {
    "pause": ("control", "pause"),
    "continue": ("control", "go_on"),
    "cancel": ("control", "cancel"),
    "history": ("history", "history"),
    "show": ("history", "show"),
    "logs": ("history", "logs"),
}
"""The module and the name of commands that share a file."""


class LazyGroup(click.Group):
    """Imports a command's module when that command is asked for, and no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands in the order of a newcomer's first day."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the module of a command, `orchestrator.cli.<command>` for most of them."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _ELSEWHERE.get(cmd_name, (cmd_name, "command"))
        with startup.quick_imports():
            command: click.Command = getattr(import_module(f"orchestrator.cli.{module}"), name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="orchestrate", prog_name="orchestrate")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
@click.option(
    "-i",
    "--inventory",
    "inventory_path",
    type=click.Path(path_type=Path),
    help="The inventory, in Ansible's format.",
)
def orchestrate(**_given: Any) -> None:  # noqa: ANN401 - click's
    """Bring hardware-optimised llama.cpp to a fleet of NixOS machines.

    TARGET is `fleet`, a host, a group or an Ansible pattern such as
    `gpu:!nitrogen` or `carbon,boron`.
    """
    # --debug is read from argv by main(), which also has to report what click can't
    # parse; --inventory by the command (options.INVENTORY).


def main() -> None:
    """Run the command line and exit with its code."""
    startup.collect_less()
    try:
        code = orchestrate.main(standalone_mode=False, prog_name="orchestrate")
    except click.ClickException as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("orchestrate: interrupted", err=True)
        code = 130
    except Exception as error:  # noqa: BLE001 - the last resort: every end has a message and a code
        debug = "--debug" in sys.argv[1:]
        if debug:
            traceback.print_exc()
        code = _report(error, debug=debug)
    startup.end_at_once(code or 0)


def _report(error: Exception, *, debug: bool) -> int:
    """Print what went wrong, and return the exit code that stands for it."""
    if isinstance(error, OrchestrateError):
        click.echo(f"orchestrate: {error}", err=True)
        return error.exit_code
    following = (
        "report it with the traceback" if debug else "run it again with --debug, and report it"
    )
    click.echo(
        f"orchestrate: a defect: {type(error).__name__}: {error}\n  next: {following}", err=True
    )
    return 1
