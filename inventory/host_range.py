"""Host ranges: `node[01:16]`, `db-[a:f]`, `rack[1:9:2]-[0:3]`.

The rules are of Ansible's page "How to build your inventory", section "Adding
ranges of hosts": both ends belong to the range, a leading zero in the beginning
sets the width, and a third number is the step.
"""

from __future__ import annotations

import re
import string

from inventory.names import is_ipv6
from orchestrator.errors import InventoryError

_RANGE = re.compile(r"(?P<head>[^\[\]]*)\[(?P<bounds>[^\[\]]*)\](?P<tail>.*)", re.DOTALL)
_BRACKETED_PORT = re.compile(r"\[(?P<host>[^\[\]]+)\]:(?P<port>[0-9]+)")
_PORT = re.compile(r"(?P<host>(?:[^:\[\]]|\[[^\]]*\])+):(?P<port>[0-9]+)")
# More is a slip of the keyboard; expanding it would take the memory first.
_MOST_HOSTS = 65_536


def split_port(pattern: str) -> tuple[str, int | None]:
    """Take the port off `name:port` and `[address]:port`."""
    bracketed = _BRACKETED_PORT.fullmatch(pattern)
    if bracketed and is_ipv6(bracketed["host"]):
        return bracketed["host"], int(bracketed["port"])
    plain = _PORT.fullmatch(pattern)
    if plain:
        return plain["host"], int(plain["port"])
    return pattern, None


def expand(pattern: str) -> tuple[str, ...]:
    """List the names that a host pattern stands for, in order.

    Raises:
        InventoryError: a range is malformed, backwards or absurdly large.
    """
    names = [""]
    rest = pattern
    while found := _RANGE.fullmatch(rest):
        middles = _sequence(found["bounds"], pattern)
        if len(names) * len(middles) > _MOST_HOSTS:
            raise _bad(pattern, f"is more than {_MOST_HOSTS} hosts")
        head = found["head"]
        names = [f"{name}{head}{middle}" for name in names for middle in middles]
        rest = found["tail"]
    if "[" in rest or "]" in rest:
        raise _bad(pattern, "has a bracket without its other half")
    return tuple(name + rest for name in names)


def _sequence(bounds: str, pattern: str) -> list[str]:
    begin, separator, rest = bounds.partition(":")
    end, _, step_text = rest.partition(":")
    step_text = step_text or "1"
    if not separator or not _is_number(step_text) or int(step_text) == 0:
        raise _bad(pattern, "has a range that is not begin:end or begin:end:step")
    # Ansible reads [:5] as [0:5].
    begin = begin or "0"
    if _is_number(begin) and _is_number(end):
        return _numbers(begin, end, int(step_text), pattern)
    if len(begin) == len(end) == 1:
        # Empty if begin isn't a letter; a to z then A to Z, as in Ansible.
        from_begin = "".join(string.ascii_letters.partition(begin)[1:])
        if end in from_begin:
            return list(from_begin[: from_begin.index(end) + 1 : int(step_text)])
    raise _bad(pattern, "has a range whose ends are not two numbers or two ascending letters")


def _numbers(begin: str, end: str, step: int, pattern: str) -> list[str]:
    width = len(begin) if begin.startswith("0") and len(begin) > 1 else 0
    if width and width != len(end):
        raise _bad(pattern, "has a range whose ends differ in length after a leading zero")
    if int(begin) > int(end):
        raise _bad(pattern, "has a range that ends before it begins")
    if (int(end) - int(begin)) // step >= _MOST_HOSTS:
        raise _bad(pattern, f"is more than {_MOST_HOSTS} hosts")
    return [str(number).zfill(width) for number in range(int(begin), int(end) + 1, step)]


def _is_number(text: str) -> bool:
    # isdigit alone also accepts ², and int() alone accepts " 1_0".
    longest = 18
    return text.isascii() and text.isdigit() and len(text) <= longest


def _bad(pattern: str, why: str) -> InventoryError:
    return InventoryError(
        message=f"host {pattern!r} {why}",
        hint="ranges look like node[01:16], node[1:9:2] or node[a:f]",
    )
