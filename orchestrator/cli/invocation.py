"""What every command begins with: the inventory, the targets, the settings."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass, fields, replace
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import click
import msgspec

from inventory.host import RebootPolicy
from inventory.pattern import limited
from inventory.read import read_inventory
from inventory.rollout import Size, sizes_of
from orchestrator.errors import UsageError
from orchestrator.log import configure_log
from orchestrator.model.plan import Fanout, Goal
from orchestrator.stages.flake.flake import INPUTS
from orchestrator.transport.become import remember_typed
from orchestrator.workspace import workspace_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from inventory.host import Host, Inventory
    from orchestrator.workspace import Workspace

F = TypeVar("F", bound="Callable[..., Any]")

_CONFIGURATION = "orchestrate.toml"


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`orchestrate.toml` beside the inventory.

    `broker` is the URL of a Redis or Valkey server that a cluster's workers
    share; without it every run has a private one. `keep_days` is how long a run
    is remembered.
    """

    broker: str | None = None
    keep_days: Annotated[int, msgspec.Meta(ge=1)] = 90


@dataclass(frozen=True)
class Invocation:
    """The options that most commands share, and what follows from them.

    Not slotted: the inventory is read once, when it is first asked for.
    """

    inventory_path: Path
    target: str = "fleet"
    as_json: bool = False
    broker_option: str | None = None
    update_inputs: tuple[str, ...] = ()
    limit: str | None = None
    serial: tuple[Size, ...] | None = None
    retry_failed: bool = False
    again: bool = False
    check_signatures: bool = True
    fanout: Fanout = Fanout.BUILDER
    goal: Goal = Goal.SWITCH
    ask_become_password: bool = False
    reboot: bool | None = None

    @cached_property
    def inventory(self) -> Inventory:
        """The inventory, read and checked, with the serial of the command line.

        Raises:
            InventoryError: it can't be read.
        """
        if not self.inventory_path.exists():
            raise UsageError(
                message=f"there is no inventory at {self.inventory_path}",
                hint="make one with `orchestrate init`, or name one with --inventory",
            )
        found = read_inventory(self.inventory_path)
        if self.serial is None:
            return found
        rollout = replace(found.fleet.rollout, serial=self.serial)
        return replace(found, fleet=replace(found.fleet, rollout=rollout))

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The hosts that TARGET means, and `--limit` as well.

        Raises:
            InventoryError: it means none.
        """
        return limited(self.inventory, self.target, self.limit)

    @cached_property
    def workspace(self) -> Workspace:
        """This project's workspace, with the log opened in it."""
        workspace = workspace_for(self.inventory_path)
        configure_log(workspace.log)
        return workspace

    @property
    def broker(self) -> str | None:
        """The broker's URL from the option or the configuration; None for a private one.

        Raises:
            UsageError: the configuration can't be read.
        """
        if self.broker_option is not None:
            return self.broker_option
        return self.configuration.broker

    @cached_property
    def configuration(self) -> Configuration:
        """What `orchestrate.toml` beside the inventory says, or the defaults.

        Raises:
            UsageError: it can't be read.
        """
        file = self.inventory_path.parent / _CONFIGURATION
        if not file.is_file():
            return Configuration()
        try:
            found = tomllib.loads(file.read_text(encoding="utf-8"))
            return msgspec.convert(found, Configuration)
        except (OSError, ValueError) as error:
            message = f"{file}: {error}"
            hint = 'it may hold: broker = "rediss://…" and keep_days = 90'
            raise UsageError(message, hint=hint) from error


def inventory_option(function: F) -> F:
    """Add `--inventory`."""
    return click.option(
        "-i",
        "--inventory",
        type=click.Path(path_type=Path),
        default=Path("inventory.yml"),
        envvar="ORCHESTRATE_INVENTORY",
        show_default=True,
        help="The inventory, in Ansible's format.",
    )(function)


def json_option(function: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")(
        function
    )


def broker_option(function: F) -> F:
    """Add `--broker`."""
    return click.option(
        "--broker", metavar="URL", help="A Redis or Valkey server to use instead of a private one."
    )(function)


def ask_become_pass_option(function: F) -> F:
    """Add `--ask-become-pass`."""
    return click.option(
        "-K",
        "--ask-become-pass",
        "ask_become_password",
        is_flag=True,
        help="Ask once for the password of sudo, where a host needs one and names none.",
    )(function)


def ask_become_password(invocation: Invocation, *, for_workers: bool = True) -> None:
    """Ask for the password of sudo, where the invocation says so.

    It is typed on a terminal, or is the first line of standard input.

    Args:
        invocation: the command's.
        for_workers: whether workers need it, and not just this process.

    Raises:
        UsageError: there is none, or workers elsewhere would need it.
    """
    if not invocation.ask_become_password:
        return
    if for_workers and invocation.broker is not None:
        raise UsageError(
            message="--ask-become-pass: what is typed here can't reach the workers of a cluster",
            hint="set orchestrate_become_password_file or orchestrate_become_password_command,"
            " which each worker reads on its own machine",
        )
    if sys.stdin.isatty():
        password = click.prompt("password for sudo", hide_input=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise UsageError(
            message="--ask-become-pass: there is no password on standard input",
            hint="type it on a terminal, or pipe it in",
        )
    remember_typed(password)


def reboot_option(function: F) -> F:
    """Add `--reboot`."""
    return click.option(
        "--reboot/--no-reboot",
        default=None,
        help="Answer where orchestrate_reboot says ask; --no-reboot also where it says if-needed.",
    )(function)


def ask_for_reboots(invocation: Invocation) -> tuple[str, ...]:
    """Name the hosts that may reboot in this run: by the inventory, an option, an answer.

    It is asked before the run begins, which can then go on without anybody.
    Without a terminal nobody answers, and those hosts don't reboot.

    Raises:
        UsageError: reboots are asked for with a goal that has none.
    """
    if invocation.reboot and invocation.goal is not Goal.SWITCH:
        raise UsageError(
            message=f"--reboot: goal {invocation.goal} reboots no machine",
            hint="only what has passed its smoke is rebooted: leave --goal out, or reboot by hand"
            " and ask `orchestrate smoke`",
        )
    if invocation.goal is not Goal.SWITCH or invocation.reboot is False:
        return ()
    hosts = invocation.hosts
    asking = [host.name for host in hosts if host.reboot is RebootPolicy.ASK]
    granted = bool(invocation.reboot)
    if asking and invocation.reboot is None:
        names = ", ".join(asking)
        if sys.stdin.isatty():
            question = f"May these reboot after their confirmation, where that is needed: {names}?"
            granted = click.confirm(question, err=True)
        else:
            said = f"orchestrate: {names}: nobody to ask about reboots, so there are none"
            click.echo(f"{said}; --reboot allows them", err=True)
    allowed = {RebootPolicy.IF_NEEDED, *([RebootPolicy.ASK] if granted else [])}
    return tuple(host.name for host in hosts if host.reboot in allowed)


def update_input_option(function: F) -> F:
    """Add `--update-input`."""
    return click.option(
        "--update-input",
        "update_inputs",
        multiple=True,
        type=click.Choice(INPUTS),
        help="Lock this input of the generated flake anew; llama.cpp stays as locked without it.",
    )(function)


def limit_option(function: F) -> F:
    """Add `--limit`."""
    return click.option(
        "-l",
        "--limit",
        metavar="PATTERN",
        help="Of TARGET, only the hosts that this Ansible pattern means too.",
    )(function)


def serial_option(function: F) -> F:
    """Add `--serial`."""
    return click.option(
        "--serial",
        metavar="SIZES",
        callback=_serial,
        help="Batch sizes instead of the inventory's, such as 1,25%,100%.",
    )(function)


def _serial(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> tuple[Size, ...] | None:
    if text is None:
        return None
    sizes = sizes_of(part.strip() for part in text.split(","))
    if sizes is None:
        message = f"{text!r} is no list of numbers and percentages, such as 1,25%,100%"
        raise click.BadParameter(message)
    return sizes


def retry_failed_option(function: F) -> F:
    """Add `--retry-failed`."""
    return click.option(
        "--retry-failed", is_flag=True, help="Build also what failed before; else that is refused."
    )(function)


def copy_options(function: F) -> F:
    """Add `--no-check-sigs` and `--fanout`."""
    unchecked = click.option(
        "--no-check-sigs",
        "check_signatures",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Let the targets take closures without the builder's signature.",
    )
    fanout = click.option(
        "--fanout",
        type=click.Choice([member.value for member in Fanout]),
        default=Fanout.BUILDER.value,
        callback=lambda _context, _option, value: Fanout(value),
        show_default=True,
        help="Who gives closures: the builder alone, or also machines that have them.",
    )
    return unchecked(fanout(function))


def again_option(function: F) -> F:
    """Add `--again`."""
    return click.option(
        "--again", is_flag=True, help="Also what failed a smoke before; else that is refused."
    )(function)


def rollout_options(function: F) -> F:
    """Add TARGET and the options of whatever deploys something new."""
    for option in (
        json_option,
        copy_options,
        again_option,
        retry_failed_option,
        ask_become_pass_option,
        broker_option,
        inventory_option,
        reboot_option,
        serial_option,
        limit_option,
        target_argument,
    ):
        function = option(function)
    return function


def invoked(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command the shared options as one `Invocation`, and its own as they are."""
    renamed = {"inventory": "inventory_path", "broker": "broker_option"}
    shared = {field.name for field in fields(Invocation)}

    @wraps(function)
    def command(**options: Any) -> int:  # noqa: ANN401 - click's
        given = {renamed.get(name, name): value for name, value in options.items()}
        own = {name: given.pop(name) for name in given.keys() - shared}
        return function(Invocation(**given), **own)

    return command


def target_argument(function: F) -> F:
    """Add TARGET."""
    return click.argument("target", default="fleet")(function)
