"""Every argument and option of the command line, made once, and how a command takes them.

A command names what it takes; what of that belongs to an `Invocation` reaches it as
one, and the rest by name. `--inventory` and `--debug` work before a command's name as
well: `orchestrate -i lab.yml plan` is `orchestrate plan -i lab.yml`.
"""

from __future__ import annotations

from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from inventory.rollout import sizes_of
from orchestrator.cli.invocation import Invocation
from orchestrator.model.plan import Fanout, Goal
from orchestrator.stages.flake.flake import INPUTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from inventory.rollout import Size


def command(
    name: str, *params: click.Parameter, epilog: str = ""
) -> Callable[[Callable[..., int]], click.Command]:
    """Make a command of a function, whose docstring is its help.

    Args:
        name: as it is typed.
        params: what it takes, in the order of its help, besides `--inventory` and `--debug`.
        epilog: what its help ends with.
    """

    def make(function: Callable[..., int]) -> click.Command:
        return click.Command(
            name,
            params=[*params, INVENTORY, DEBUG],
            callback=_invoked(function),
            help=function.__doc__,
            epilog=epilog or None,
        )

    return make


def _invoked(function: Callable[..., int]) -> Callable[..., int]:
    """Hand the shared options to a command as one `Invocation`, and its own as they are."""
    shared = {field.name for field in fields(Invocation)}

    @wraps(function)
    def called(**options: Any) -> int:  # noqa: ANN401 - click's
        own = {name: options.pop(name) for name in options.keys() - shared}
        return function(Invocation(**options), **own)

    return called


def _or_before(context: click.Context, option: click.Parameter, value: object) -> object:
    """Take the value that was given before the command's name, unless one follows it."""
    if context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
        return value
    before = context.parent
    while before is not None:
        if before.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
            return before.params[option.name or ""]
        before = before.parent
    return value


def _sizes(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> tuple[Size, ...] | None:
    if text is None:
        return None
    sizes = sizes_of(part.strip() for part in text.split(","))
    if sizes is None:
        message = f"{text!r} is no list of numbers and percentages, such as 1,25%,100%"
        raise click.BadParameter(message)
    return sizes


def goal(*goals: Goal, text: str) -> click.Option:
    """Make `--goal` for a command that takes some of them; `text` says what each does."""
    return click.Option(
        ["--goal"],
        type=click.Choice([goal.value for goal in goals]),
        default=Goal.SWITCH.value,
        callback=lambda _context, _option, value: Goal(value),
        show_default=True,
        help=text,
    )


def inputs(*default: str) -> click.Option:
    """Make `--input`, also called `--update-input`, with what a command locks anew by itself."""
    return click.Option(
        ["--input", "--update-input", "update_inputs"],
        multiple=True,
        type=click.Choice(INPUTS),
        default=default or None,
        show_default=bool(default),
        help="Lock this input of the generated flake anew; the others stay locked.",
    )


TARGET = click.Argument(["target"], default="fleet")

NAMED_TARGET = click.Argument(["target"])
"""For what is never meant for the whole fleet unless that is said."""

RUN = click.Argument(["run"])

OPEN_RUN = click.Argument(["run"], required=False)
"""A run, or the newest that has not ended."""

INVENTORY = click.Option(
    ["-i", "--inventory", "inventory_path"],
    type=click.Path(path_type=Path),
    default=Path("inventory.yml"),
    envvar="ORCHESTRATE_INVENTORY",
    show_default=True,
    callback=_or_before,
    help="The inventory, in Ansible's format.",
)

DEBUG = click.Option(
    ["--debug"], is_flag=True, expose_value=False, help="Show a traceback with an error."
)
"""Read from the arguments by `main`, which also reports what can't be parsed."""

JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, one object a line.")

BROKER = click.Option(
    ["--broker", "broker_option"],
    metavar="URL",
    help="Use this Redis or Valkey server instead of a private one.",
)

ASK_BECOME_PASS = click.Option(
    ["-K", "--ask-become-pass", "ask_become_password"],
    is_flag=True,
    help="Ask once for sudo's password, for hosts that need one and name none.",
)

LIMIT = click.Option(
    ["-l", "--limit"],
    metavar="PATTERN",
    help="Limit TARGET to hosts that also match PATTERN, as in Ansible.",
)

SERIAL = click.Option(
    ["--serial"],
    metavar="SIZES",
    callback=_sizes,
    help="Batch sizes instead of the inventory's, such as 1,25%,100%.",
)

REBOOT = click.Option(
    ["--reboot/--no-reboot"],
    default=None,
    help="Answer for hosts whose orchestrate_reboot is ask; --no-reboot also overrides if-needed.",
)

YES = click.Option(
    ["-y", "--yes"], is_flag=True, help="Answer yes to what would be asked on the terminal."
)

AGAIN = click.Option(
    ["--again"],
    is_flag=True,
    help="Also deploy systems that failed an earlier smoke test (refused by default).",
)

RETRY_FAILED = click.Option(
    ["--retry-failed"],
    is_flag=True,
    help="Also build derivations that failed before (refused by default).",
)

NO_CHECK_SIGS = click.Option(
    ["--no-check-sigs", "check_signatures"],
    is_flag=True,
    flag_value=False,
    default=True,
    help="Let the targets take closures without the builder's signature.",
)

FANOUT = click.Option(
    ["--fanout"],
    type=click.Choice([member.value for member in Fanout]),
    default=Fanout.BUILDER.value,
    callback=lambda _context, _option, value: Fanout(value),
    show_default=True,
    help="Copy closures from the builder alone, or also from hosts that have them already.",
)

ROLLOUT = (
    TARGET,
    LIMIT,
    SERIAL,
    REBOOT,
    YES,
    AGAIN,
    RETRY_FAILED,
    NO_CHECK_SIGS,
    FANOUT,
    ASK_BECOME_PASS,
    BROKER,
    JSON,
)
"""What every command takes that deploys something new."""
