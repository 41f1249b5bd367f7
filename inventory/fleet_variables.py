"""What holds for the whole fleet, from the vars of the group `all`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inventory.copying import CopyLimits
from inventory.definition import fill
from inventory.definitions import FLEET_VARIABLES
from inventory.host import Fleet
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from inventory.rollout import Rollout
    from inventory.variables import Variables


def fleet_of(everywhere: Variables, rollout: Rollout) -> Fleet:
    """Interpret the fleet's settings, those of its rollout done already.

    Raises:
        InventoryError: one has the wrong type.
    """
    return fill(Fleet, everywhere, rollout=rollout, copies=fill(CopyLimits, everywhere))


def check_not_lower(host: Variables, everywhere: Variables) -> None:
    """Refuse a fleet setting on a host or on a group other than `all`.

    Raises:
        InventoryError: there is one that differs from the fleet's.
    """
    for name in sorted(FLEET_VARIABLES & host.values.keys()):
        if name not in everywhere.values or everywhere.values[name] != host.values[name]:
            raise InventoryError(
                message=f"{name} is set for this host or one of its groups, "
                "and holds for the whole fleet",
                hint="move it to the vars of the group all",
                host=host.host,
            )
