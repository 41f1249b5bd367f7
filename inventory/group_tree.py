"""Which hosts a group has through its children, and how deep it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inventory.suggestion import did_you_mean
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inventory.source import Group


def depths(groups: Mapping[str, Group]) -> dict[str, int]:
    """Compute each group's longest way down from `all`, which orders precedence.

    Raises:
        InventoryError: a group is its own descendant, or a child isn't defined.
    """
    found = dict.fromkeys(groups, 0)
    # A group that still sinks after as many rounds as there are groups is on a loop.
    for _ in range(len(groups) + 1):
        sinking = [
            (child, found[name] + 1)
            for name, group in groups.items()
            for child in group.children
            if found[_known(child, groups)] <= found[name]
        ]
        if not sinking:
            return found
        for child, depth in sinking:
            found[child] = max(found[child], depth)
    deepest = max(found, key=lambda name: found[name])
    raise InventoryError(message=f"group {deepest!r} is a child of itself through its children")


def _known(name: str, groups: Mapping[str, Group]) -> str:
    if name in groups:
        return name
    raise InventoryError(
        message=f"group {name!r} is a child but not defined", hint=did_you_mean(name, groups)
    )


def members(groups: Mapping[str, Group], name: str) -> tuple[str, ...]:
    """List the hosts of a group and its descendants, nearest level first.

    That is the order in which Ansible counts for `group[0]`.
    """
    found: dict[str, None] = {}
    seen = {name}
    level = [name]
    while level:
        found.update(dict.fromkeys(host for group in level for host in groups[group].hosts))
        below = dict.fromkeys(child for group in level for child in groups[group].children)
        level = [child for child in below if child not in seen]
        seen.update(level)
    return tuple(found)
