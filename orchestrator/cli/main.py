"""`orchestrate`: the commands, and how errors become messages and exit codes.

Exit codes: 0 all good; 1 a defect of this program; 2 usage or configuration,
nothing was touched; 3 some hosts failed or were rolled back well; 4 a host
needs hands, or the run was interrupted and `orchestrate resume` goes on.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import NoReturn

import click

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
        """Give the commands in the order of a newcomer's first day."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the module of a command, `orchestrator.cli.<command>` for most of them."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _ELSEWHERE.get(cmd_name, (cmd_name, "command"))
        command: click.Command = getattr(import_module(f"orchestrator.cli.{module}"), name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="orchestrate", prog_name="orchestrate")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def orchestrate(*, debug: bool) -> None:
    """Bring hardware-optimised llama.cpp to a fleet of NixOS machines.

    TARGET is `fleet`, a host, a group or an Ansible pattern such as
    `gpu:!nitrogen` or `carbon,boron`.
    """
    del debug  # read from argv by main(), which also has to report what click can't parse


def main() -> None:
    """Run the command line and exit with its code."""
    debug = "--debug" in sys.argv[1:]
    # Nearly all that is made lives to the end: looking for what doesn't took 6 % of the time.
    gc.set_threshold(20_000, 20, 20)
    try:
        code = orchestrate.main(standalone_mode=False, prog_name="orchestrate")
    except OrchestrateError as error:
        if debug:
            raise
        click.echo(f"orchestrate: {error}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("orchestrate: interrupted", err=True)
        code = 130
    except Exception as error:
        if debug:
            raise
        click.echo(
            f"orchestrate: a defect: {type(error).__name__}: {error}\n"
            "  next: run it again with --debug and report what it prints",
            err=True,
        )
        code = 1
    _exit(code or 0)


def _exit(code: int) -> NoReturn:
    """End at once: taking the interpreter apart takes a tenth of a second and more.

    Nothing is left to do by then: files, processes and connections were closed by
    their contexts.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # Whoever read it has gone: Python has its own words and exit code for that.
        sys.exit(code)
    os._exit(code)
