"""How a rollout goes over the fleet: batches, canaries, limits, order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inventory.suggestion import did_you_mean
from inventory.variables import Variables
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Size = int | str
"""A number of hosts, or a percentage of them such as "25%"."""

ROLLOUT_VARIABLES = frozenset(
    {
        "orchestrate_batch_pause",
        "orchestrate_canary",
        "orchestrate_max_failures",
        "orchestrate_max_failures_per_variant",
        "orchestrate_max_unreachable",
        "orchestrate_order",
        "orchestrate_serial",
    }
)
"""Those that only the group `all` can set."""

MAX_UNAVAILABLE = "orchestrate_max_unavailable"
"""Any group can set this one for its own hosts, `all` for the fleet."""

WHOLE: tuple[Size, ...] = ("100%",)
"""A serial that asks for no batches."""

_PERCENT = re.compile(r"(100|[1-9]?[0-9])%")
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Rollout:
    """What the inventory says of a rollout. None stands for no limit.

    Args:
        serial: batch sizes, as Ansible's `serial`.
        canary: whether one host of each package has to end well before its others.
        batch_pause: seconds between the end of a batch and the next one's begin.
        max_unavailable: by group, `all` for the fleet: how many of its hosts may
            be out of service at a time.
        max_failures: how many of the hosts that move may fail before the rest is
            left alone.
        max_failures_per_variant: the same within each variant.
        max_unreachable: how many hosts may be unreachable before that.
        order: groups, each one's hosts after those of the groups before it.
    """

    serial: tuple[Size, ...] = WHOLE
    canary: bool = True
    batch_pause: float = 0.0
    max_unavailable: dict[str, Size] = field(default_factory=dict)
    max_failures: Size | None = None
    max_failures_per_variant: Size | None = None
    max_unreachable: Size | None = None
    order: tuple[str, ...] = ()


def count_of(size: Size, whole: int, least: int = 0) -> int:
    """Give a size as a number of hosts; percentages are rounded down, as Ansible does."""
    text = str(size)
    if not text.endswith("%"):
        return max(least, int(text))
    return max(least, whole * int(text.removesuffix("%")) // 100)


def sizes_of(items: Iterable[object], least: int = 1) -> tuple[Size, ...] | None:
    """Read sizes; None where there are none or one isn't a number or percentage."""
    sizes = [_size(item, least) for item in items]
    known = tuple(size for size in sizes if size is not None)
    return known if known and len(known) == len(sizes) else None


def _size(item: object, least: int) -> Size | None:
    text = "" if isinstance(item, bool) else str(item)
    if _PERCENT.fullmatch(text):
        return text if int(text.removesuffix("%")) >= least else None
    if _WHOLE_NUMBER.fullmatch(text):
        return int(text) if int(text) >= least else None
    return None


def rollout_of(
    everywhere: Variables,
    group_variables: Mapping[str, Mapping[str, object]],
    groups: Iterable[str],
) -> Rollout:
    """Interpret the rollout's settings.

    Args:
        everywhere: the variables of the group `all`.
        group_variables: what each group sets itself.
        groups: every group's name.

    Raises:
        InventoryError: one has the wrong type, or names an unknown group.
    """
    per_variant = "orchestrate_max_failures_per_variant"
    return Rollout(
        serial=_serial(everywhere),
        canary=everywhere.boolean("orchestrate_canary", default=True),
        batch_pause=everywhere.optional_number("orchestrate_batch_pause") or 0.0,
        max_unavailable=_max_unavailable(group_variables, everywhere.base),
        max_failures=_limit(everywhere, "orchestrate_max_failures"),
        max_failures_per_variant=_limit(everywhere, per_variant),
        max_unreachable=_limit(everywhere, "orchestrate_max_unreachable"),
        order=_order(everywhere, tuple(groups)),
    )


def check_set_by_group(
    host: Variables, groups: Iterable[str], group_variables: Mapping[str, Mapping[str, object]]
) -> None:
    """Refuse a host's own limit of unavailable hosts: it means nothing for one.

    Raises:
        InventoryError: the host has one that no group of it sets.
    """
    if MAX_UNAVAILABLE not in host.values:
        return
    written = [group_variables.get(name, {}).get(MAX_UNAVAILABLE) for name in (*groups, "all")]
    if host.values[MAX_UNAVAILABLE] not in written:
        raise InventoryError(
            message=f"{MAX_UNAVAILABLE} is set for one host, and holds for a group",
            hint="move it to the vars of a group, or of all for the whole fleet",
            host=host.host,
        )


def _serial(everywhere: Variables) -> tuple[Size, ...]:
    """Read batch sizes as Ansible's `serial`: "Setting the batch size with serial"."""
    name, expected = "orchestrate_serial", 'numbers or percentages, such as [1, "30%"]'
    value = everywhere.raw(name, expected)
    if value is None:
        return WHOLE
    sizes = sizes_of(value if isinstance(value, list) else [value])
    if sizes is None:
        raise everywhere.wrong(name, repr(value), expected)
    return sizes


def _limit(variables: Variables, name: str, least: int = 0) -> Size | None:
    expected = f'a number of hosts of at least {least}, or a percentage such as "25%"'
    value = variables.raw(name, expected)
    if value is None:
        return None
    sizes = sizes_of([value], least)
    if sizes is None:
        raise variables.wrong(name, repr(value), expected)
    return sizes[0]


def _max_unavailable(
    group_variables: Mapping[str, Mapping[str, object]], base: Path
) -> dict[str, Size]:
    found = {}
    for group, values in sorted(group_variables.items()):
        try:
            size = _limit(Variables("", values, base), MAX_UNAVAILABLE, least=1)
        except InventoryError as error:
            error.message = f"group {group}: {error.message}"
            raise
        if size is not None:
            found[group] = size
    return found


def _order(everywhere: Variables, groups: tuple[str, ...]) -> tuple[str, ...]:
    name = "orchestrate_order"
    wanted = everywhere.texts(name)
    for group in wanted:
        if group not in groups:
            expected = "a list of groups of this inventory"
            raise everywhere.wrong(name, repr(group), expected, did_you_mean(group, groups))
    return wanted
