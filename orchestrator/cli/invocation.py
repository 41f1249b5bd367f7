"""What every command begins with: the inventory, the targets, the settings."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from inventory.pattern import limited
from inventory.read import read_inventory
from inventory.rollout import Size
from orchestrator.errors import UsageError
from orchestrator.log import configure_log
from orchestrator.model.plan import Fanout, Goal
from orchestrator.workspace import workspace_for

if TYPE_CHECKING:
    from inventory.host import Host, Inventory
    from orchestrator.workspace import Workspace

_CONFIGURATION = "orchestrate.toml"


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`orchestrate.toml` beside the inventory.

    `broker` is the URL of a Redis or Valkey server that a cluster's workers
    share; without it every run has a private one. `project` names this project where
    several share a broker. `keep_days` is how long a run is remembered. `ask` says when a
    run needs consent: on a terminal, or always, so that without one `--yes` is needed for
    more than one host.
    """

    broker: str | None = None
    project: str | None = None
    ask: Literal["terminal", "always"] = "terminal"
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
    yes: bool = False

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

    @property
    def project(self) -> str:
        """Which runs are this project's: by its name, or on a private broker its folder.

        Empty for all runs of a broker that is shared: its checkouts lie anywhere.

        Raises:
            UsageError: the configuration can't be read.
        """
        if self.configuration.project is not None:
            return self.configuration.project
        return str(self.inventory_path.resolve().parent) if self.broker is None else ""

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
            hint = 'it may hold: broker = "rediss://…", project = "…" and keep_days = 90'
            raise UsageError(message, hint=hint) from error
