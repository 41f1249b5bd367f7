"""Which hosts a pattern means, as Ansible's "Patterns: targeting hosts and groups".

Two things differ on purpose. A pattern that matches nothing is an error, while
Ansible warns and runs on the rest: `gpu:!nitrogn` must not deploy to nitrogen.
And `fleet` means every host that is deployed to, unless the inventory has a
group or host of that name.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from inventory.names import is_ipv6
from inventory.suggestion import did_you_mean
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inventory.host import Host, Inventory

FLEET = "fleet"
"""The pattern for every host that is deployed to."""

_SUBSCRIPT = re.compile(
    r"(?P<expression>.+)\[(?:(?P<index>-?[0-9]+)|(?P<begin>[0-9]*):(?P<end>[0-9]*))\]"
)
# Colons inside of brackets belong to a subscript.
_BETWEEN_COLONS = re.compile(r"(?:[^\s:\[\]]|\[[^\]]*\])+")
_SPECIAL = frozenset(".?*[")


def select(inventory: Inventory, pattern: str) -> tuple[Host, ...]:
    """List the hosts to deploy to, in the order of the inventory.

    Unions by comma or colon, intersections by `&`, exclusions by `!`, wildcards,
    `~` for a regular expression, and `group[0]` or `group[1:3]`, both ends
    included. Hosts with `orchestrate_deploy: false`, by default the builders,
    are left out of whatever doesn't name them.

    Raises:
        InventoryError: the pattern or a part of it matches nothing, is
            malformed, or names a host that isn't deployed to.
    """
    parts = _split(pattern)
    regular = [part for part in parts if part[0] not in "&!"]
    chosen: set[str] = set()
    for part in regular or ["all"]:
        chosen |= _match(inventory, part)
    for part in parts:
        if part[0] == "&":
            chosen &= _match(inventory, part[1:])
    for part in parts:
        if part[0] == "!":
            chosen -= _match(inventory, part[1:])
    hosts = [host for host in inventory.hosts if host.name in chosen]
    _refuse_named(hosts, regular)
    targets = tuple(host for host in hosts if host.deploy)
    if not targets:
        _nothing(pattern, hosts)
    return targets


def limited(inventory: Inventory, pattern: str, limit: str | None) -> tuple[Host, ...]:
    """List the hosts of `pattern` that `limit` means too, as Ansible's `--limit`.

    Raises:
        InventoryError: as `select`, or the two have no host in common.
    """
    hosts = select(inventory, pattern)
    if limit is None:
        return hosts
    wanted = {host.name for host in select(inventory, limit)}
    left = tuple(host for host in hosts if host.name in wanted)
    if not left:
        raise InventoryError(
            message=f"--limit {limit!r} leaves no host of {pattern!r}",
            hint=f"{pattern} means {', '.join(host.name for host in hosts)}",
        )
    return left


def _refuse_named(hosts: Iterable[Host], parts: list[str]) -> None:
    for host in hosts:
        if host.name in parts and not host.deploy:
            why = "it is a builder" if host.builder else "orchestrate_deploy is false for it"
            raise InventoryError(
                message=f"not deployed to: {why}",
                hint="set orchestrate_deploy: true on it in the inventory",
                host=host.name,
            )


def _nothing(pattern: str, hosts: list[Host]) -> None:
    names = ", ".join(host.name for host in hosts)
    raise InventoryError(
        message=f"pattern {pattern!r} selects no host to deploy to",
        hint=f"orchestrate_deploy is false for {names}"
        if names
        else "its parts have none in common",
    )


def _split(pattern: str) -> list[str]:
    """Split a pattern into its parts; colons are ambiguous, commas never are.

    Raises:
        InventoryError: nothing is left, a bracket is open, or a sign stands alone.
    """
    if "," in pattern:
        parts = [part.strip() for part in pattern.split(",")]
    elif is_ipv6(pattern.strip().lstrip("!&")):
        parts = [pattern.strip()]
    else:
        parts = _BETWEEN_COLONS.findall(pattern)
        # The expression passes over a bracket that has no other half.
        if re.sub(r"[\s:]", "", "".join(parts)) != re.sub(r"[\s:]", "", pattern):
            raise InventoryError(message=f"pattern {pattern!r} has half a pair of brackets")
    parts = [part for part in parts if part]
    if not parts or any(part in {"!", "&"} for part in parts):
        raise InventoryError(
            message=f"pattern {pattern!r} is empty or has a sign without a name",
            hint="such as fleet, carbon, gpu:!nitrogen, gpu:&amd, node-*, gpu[0]",
        )
    return parts


def _match(inventory: Inventory, part: str) -> set[str]:
    """Find the hosts of one part, without its sign.

    Raises:
        InventoryError: there are none, or the part is malformed.
    """
    known = {host.name for host in inventory.hosts}
    if part in known:
        return {part}
    if part == FLEET and FLEET not in inventory.groups:
        return {host.name for host in inventory.targets}
    expression, subscript = part, None
    if not part.startswith("~"):
        subscript = _SUBSCRIPT.fullmatch(part)
        expression = subscript["expression"] if subscript else part
    found, is_known = _enumerate(inventory, expression)
    if subscript:
        found = _slice(found, subscript)
    if not found and (subscript or not is_known):
        raise InventoryError(
            message=f"pattern {part!r} matches no host and no group of {inventory.path}",
            hint=did_you_mean(expression, [*known, *inventory.groups, FLEET]),
        )
    return set(found)


def _enumerate(inventory: Inventory, expression: str) -> tuple[list[str], bool]:
    """List the hosts that an expression matches, and whether it named a group.

    Hosts are looked at if no group matched or if the expression has
    something special in it, a dot included: that is Ansible's rule.
    """
    matcher = _matcher(expression)
    groups = [name for name in inventory.groups if matcher.match(name)]
    found = dict.fromkeys(host for name in groups for host in inventory.groups[name])
    if not groups or expression.startswith("~") or _SPECIAL & set(expression):
        found |= dict.fromkeys(host.name for host in inventory.hosts if matcher.match(host.name))
    return list(found), bool(groups)


def _matcher(expression: str) -> re.Pattern[str]:
    try:
        if expression.startswith("~"):
            return re.compile(expression[1:])
        return re.compile(fnmatch.translate(expression))
    except re.error as error:
        raise InventoryError(
            message=f"pattern {expression!r} is not a regular expression: {error}"
        ) from error


def _slice(found: list[str], subscript: re.Match[str]) -> list[str]:
    if subscript["index"] is not None:
        index = int(subscript["index"])
        return [found[index]] if -len(found) <= index < len(found) else []
    begin = int(subscript["begin"] or 0)
    end = int(subscript["end"]) if subscript["end"] else len(found) - 1
    return found[begin : end + 1]
