"""How a rollout goes over the fleet: batches, canaries, limits, order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inventory.definition import Definition, Scope, Subject, fill, filled_by, setting
from inventory.kinds import Boolean, Number, Texts
from inventory.suggestion import did_you_mean
from inventory.variables import Variables
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from inventory.definition import Schema

Size = int | str
"""A number of hosts, or a percentage of them such as "25%"."""

WHOLE: tuple[Size, ...] = ("100%",)
"""A serial that asks for no batches."""

_PERCENT = re.compile(r"(100|[1-9]?[0-9])%")
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class HostCount:
    """A number of hosts, or a percentage of them."""

    least: int = 0

    @property
    def words(self) -> str:
        """The type, as the reference and the errors say it."""
        return f'a number of hosts of at least {self.least}, or a percentage such as "25%"'

    @property
    def schema(self) -> Schema:
        """An integer, or text with a number or a percentage."""
        text = {"type": "string", "pattern": f"^({_PERCENT.pattern}|{_WHOLE_NUMBER.pattern})$"}
        return {"anyOf": [{"type": "integer", "minimum": self.least}, text]}

    def read(self, variables: Variables, name: str) -> Size | None:
        """Read the size."""
        value = variables.raw(name, self.words)
        if value is None:
            return None
        sizes = sizes_of([value], self.least)
        if sizes is None:
            raise variables.wrong(name, repr(value), self.words)
        return sizes[0]


class BatchSizes:
    """Sizes of batches as Ansible's `serial`: "Setting the batch size with serial"."""

    words = 'numbers or percentages, such as [1, "30%"]'

    @property
    def schema(self) -> Schema:
        """A size, or a list of sizes."""
        one = HostCount(least=1).schema
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}

    def read(self, variables: Variables, name: str) -> tuple[Size, ...] | None:
        """Read the sizes."""
        value = variables.raw(name, self.words)
        if value is None:
            return None
        sizes = sizes_of(value if isinstance(value, list) else [value])
        if sizes is None:
            raise variables.wrong(name, repr(value), self.words)
        return sizes


MAX_UNAVAILABLE = Definition(
    "orchestrate_max_unavailable",
    HostCount(least=1),
    Subject.ROLLOUT,
    "How many hosts of the group may be out of service at a time; set for `all`, of the fleet",
    default=None,
    scope=Scope.GROUP,
    otherwise="no limit",
)
ORDER = Definition(
    "orchestrate_order",
    Texts("a list of groups of this inventory"),
    Subject.ROLLOUT,
    "Groups whose hosts go one group after another; hosts in none of them go last",
    default=(),
    scope=Scope.FLEET,
)


@dataclass(frozen=True, slots=True)
class Rollout:
    """What the inventory says of a rollout. None stands for no limit.

    `max_unavailable` is by group, with `all` for the fleet.
    """

    serial: tuple[Size, ...] = setting(
        "orchestrate_serial",
        BatchSizes(),
        Subject.ROLLOUT,
        "Sizes of the batches, as Ansible's `serial`; the last one repeats",
        default=WHOLE,
        scope=Scope.FLEET,
    )
    canary: bool = setting(
        "orchestrate_canary",
        Boolean(),
        Subject.ROLLOUT,
        "Whether one host of each llama.cpp package has to succeed before the others that get it",
        default=True,
        scope=Scope.FLEET,
    )
    batch_pause: float = setting(
        "orchestrate_batch_pause",
        Number("s"),
        Subject.ROLLOUT,
        "Seconds between the end of a batch and the start of the next",
        default=0.0,
        scope=Scope.FLEET,
        otherwise="no pause",
    )
    max_unavailable: dict[str, Size] = field(
        default_factory=dict, metadata=MAX_UNAVAILABLE.metadata
    )
    max_failures: Size | None = setting(
        "orchestrate_max_failures",
        HostCount(),
        Subject.ROLLOUT,
        "How many hosts of a run may fail before no further host begins; 0 stops at the first",
        default=None,
        scope=Scope.FLEET,
        otherwise="no limit",
    )
    max_failures_per_variant: Size | None = setting(
        "orchestrate_max_failures_per_variant",
        HostCount(),
        Subject.ROLLOUT,
        "How many hosts of one variant may fail before no further host of it begins",
        default=None,
        scope=Scope.FLEET,
        otherwise="no limit",
    )
    max_unreachable: Size | None = setting(
        "orchestrate_max_unreachable",
        HostCount(),
        Subject.ROLLOUT,
        "How many hosts may be unreachable before no further host begins",
        default=None,
        scope=Scope.FLEET,
        otherwise="no limit",
    )
    order: tuple[str, ...] = filled_by(ORDER)


def count_of(size: Size, whole: int, least: int = 0) -> int:
    """Return a size as a number of hosts; percentages are rounded down, as Ansible does."""
    text = str(size)
    if not text.endswith("%"):
        return max(least, int(text))
    return max(least, whole * int(text.removesuffix("%")) // 100)


def sizes_of(items: Iterable[object], least: int = 1) -> tuple[Size, ...] | None:
    """Read sizes; None if there are none or one isn't a number or percentage."""
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
    return fill(
        Rollout,
        everywhere,
        max_unavailable=_max_unavailable(group_variables, everywhere.base),
        order=_order(everywhere, tuple(groups)),
    )


def check_set_by_group(
    host: Variables, groups: Iterable[str], group_variables: Mapping[str, Mapping[str, object]]
) -> None:
    """Refuse a host's own limit of unavailable hosts: it means nothing for one.

    Raises:
        InventoryError: the host has one that no group of it sets.
    """
    name = MAX_UNAVAILABLE.name
    if name not in host.values:
        return
    written = [group_variables.get(group, {}).get(name) for group in (*groups, "all")]
    if host.values[name] not in written:
        raise InventoryError(
            message=f"{name} is set for one host, and holds for a group",
            hint="move it to the vars of a group, or of all for the whole fleet",
            host=host.host,
        )


def _max_unavailable(
    group_variables: Mapping[str, Mapping[str, object]], base: Path
) -> dict[str, Size]:
    found = {}
    for group, values in sorted(group_variables.items()):
        try:
            size = MAX_UNAVAILABLE.read(Variables("", values, base))
        except InventoryError as error:
            error.message = f"group {group}: {error.message}"
            raise
        if size is not None:
            found[group] = size
    return found


def _order(everywhere: Variables, groups: tuple[str, ...]) -> tuple[str, ...]:
    wanted = ORDER.read(everywhere)
    for group in wanted:
        if group not in groups:
            hint = did_you_mean(group, groups)
            raise everywhere.wrong(ORDER.name, repr(group), ORDER.kind.words, hint)
    return wanted
