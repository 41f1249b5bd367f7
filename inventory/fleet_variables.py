"""What holds for the whole fleet, from the vars of the group `all`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from inventory.copying import CopyLimits
from inventory.host import Fleet, Licence, TargetScope
from inventory.names import check_path
from inventory.rollout import ROLLOUT_VARIABLES
from inventory.suggestion import did_you_mean
from inventory.variables import absolute
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from inventory.rollout import Rollout
    from inventory.variables import Variables

FLEET_VARIABLES = frozenset(
    {
        "orchestrate_accept_licences",
        "orchestrate_confirm_timeout",
        "orchestrate_copies_at_once",
        "orchestrate_copy_bandwidth_mbit",
        "orchestrate_evaluate_on",
        "orchestrate_evaluation_memory_mib",
        "orchestrate_flake",
        "orchestrate_gpu_targets",
        "orchestrate_llama_cpp",
        "orchestrate_way_back_timeout",
    }
    | ROLLOUT_VARIABLES
)
"""Our variables that only the group `all` can set."""

_PATH = re.compile(r"(?P<scheme>path:)?(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL)


def fleet_of(everywhere: Variables, rollout: Rollout) -> Fleet:
    """Interpret the fleet's settings, those of its rollout done already.

    Raises:
        InventoryError: one has the wrong type.
    """
    memory = "orchestrate_evaluation_memory_mib"
    return Fleet(
        flake=_flake(everywhere, "orchestrate_flake"),
        llama_cpp=_flake(everywhere, "orchestrate_llama_cpp") or Fleet().llama_cpp,
        rollout=rollout,
        confirm_timeout=everywhere.number("orchestrate_confirm_timeout", 180.0),
        way_back_timeout=everywhere.number("orchestrate_way_back_timeout", 120.0),
        evaluation_memory_mib=everywhere.integer(memory, 0) or None,
        evaluate_on=everywhere.text("orchestrate_evaluate_on"),
        gpu_targets=everywhere.choice(
            "orchestrate_gpu_targets", TargetScope, TargetScope.PER_FLEET
        ),
        accept_licences=_licences(everywhere),
        copies=CopyLimits(
            everywhere.integer("orchestrate_copies_at_once", CopyLimits().at_once),
            everywhere.optional_number("orchestrate_copy_bandwidth_mbit"),
        ),
    )


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


def _flake(everywhere: Variables, name: str) -> str | None:
    """Read a flake reference, or a path relative to the inventory.

    A path is what starts like one, or names something that is there; Nix would
    look up a bare word in its registry.
    """
    value = check_path(everywhere.text(name), name)
    found = _PATH.fullmatch(value) if value else None
    if found is None:
        return value
    path = found["path"]
    starts_like_one = path.startswith(("/", ".", "~")) or found["scheme"] is not None
    if starts_like_one or (":" not in path and path and Path(everywhere.base, path).exists()):
        return f"{found['scheme'] or ''}{absolute(path, everywhere.base)}{found['rest']}"
    return value


def _licences(everywhere: Variables) -> tuple[Licence, ...]:
    """Read the unfree licences that are accepted, each by its own name."""
    name = "orchestrate_accept_licences"
    known = [licence.value for licence in Licence]
    accepted = everywhere.texts(name)
    for text in accepted:
        if text not in known:
            expected = f"a list out of {', '.join(known)}"
            raise everywhere.wrong(name, repr(text), expected, did_you_mean(text, known))
    return tuple(Licence(text) for text in known if text in accepted)
