"""The variables of one host, looked up by the type that is expected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from inventory.names import check_path
from inventory.source import UnsafeText, Vaulted
from inventory.suggestion import did_you_mean
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from enum import StrEnum

# INI inventories and plugins give text; Ansible's own `bool` filter takes these.
_TRUE = frozenset({"true", "yes", "on", "1", "y"})
_FALSE = frozenset({"false", "no", "off", "0", "n"})

Choice = TypeVar("Choice", bound="StrEnum")


@dataclass(frozen=True, slots=True)
class Variables:
    """Typed look-up; every error names host, variable, value and expectation.

    Args:
        host: whose they are, empty for the fleet's.
        values: name to value, as written.
        base: the directory that relative paths start from.
    """

    host: str
    values: Mapping[str, object]
    base: Path

    def raw(self, name: str, expected: str) -> object:
        """Give a value as written, None where it isn't set.

        Raises:
            InventoryError: it is a template or encrypted.
        """
        value = self.values.get(name)
        if isinstance(value, Vaulted):
            raise self.wrong(
                name,
                "an inline !vault value",
                expected,
                "ansible-inventory does not decrypt inline values: encrypt a whole "
                "group_vars or host_vars file instead, or name a file",
            )
        if isinstance(value, str) and "{{" in value and not isinstance(value, UnsafeText):
            raise self.wrong(
                name,
                repr(value),
                expected,
                "ansible-inventory does not evaluate templates: write the value itself",
            )
        return value

    def wrong(self, name: str, found: str, expected: str, hint: str = "") -> InventoryError:
        """Make the error for a value of the wrong kind."""
        return InventoryError(
            message=f"{name} is {found}, expected {expected}", hint=hint, host=self.host
        )

    def text(self, name: str) -> str | None:
        """Give text that isn't empty, None where it isn't set.

        Raises:
            InventoryError: it is something else.
        """
        value = self.raw(name, "text")
        if value is None:
            return None
        if isinstance(value, str) and value:
            return str(value)
        raise self.wrong(name, repr(value), "text", "put it in quotation marks")

    def integer(self, name: str, default: int, least: int = 1) -> int:
        """Give a whole number.

        Raises:
            InventoryError: it is something else or too small.
        """
        expected = f"a whole number of at least {least}"
        value = self.raw(name, expected)
        if value is None:
            return default
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(name, repr(value), expected)
        return value

    def number(self, name: str, default: float) -> float:
        """Give a number above zero.

        Raises:
            InventoryError: it is something else.
        """
        found = self.optional_number(name)
        return default if found is None else found

    def optional_number(self, name: str) -> float | None:
        """Give a number above zero, None where it isn't set.

        Raises:
            InventoryError: it is something else.
        """
        expected = "a number above zero"
        value = self.raw(name, expected)
        if value is None:
            return None
        number = math.nan
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                number = math.nan
        if math.isfinite(number) and number > 0:
            return number
        raise self.wrong(name, repr(value), expected)

    def boolean(self, name: str, *, default: bool) -> bool:
        """Give true or false, also from the words that Ansible takes for them.

        Raises:
            InventoryError: it is something else.
        """
        value = self.raw(name, "true or false")
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise self.wrong(name, repr(value), "true or false")

    def choice(self, name: str, kind: type[Choice], default: Choice) -> Choice:
        """Give a member of an enumeration.

        Raises:
            InventoryError: it is none of its values.
        """
        values = [str(member) for member in kind]
        value = self.raw(name, " or ".join(values))
        if value is None:
            return default
        if value in values:
            return kind(str(value))
        raise self.wrong(name, repr(value), " or ".join(values), did_you_mean(str(value), values))

    def texts(self, name: str) -> tuple[str, ...]:
        """Give a list of texts; one text alone stands for a list of one.

        Raises:
            InventoryError: it is something else.
        """
        value = self.raw(name, "a list of texts")
        if value is None:
            return ()
        items = [value] if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(item, str) and item for item in items):
            return tuple(str(item) for item in items)
        raise self.wrong(name, repr(value), "a list of texts")

    def below(self, name: str) -> Variables | None:
        """Give the keys of a mapping, None where it isn't set or is false.

        Raises:
            InventoryError: it is something else.
        """
        value = self.raw(name, "a mapping")
        if value is None or value is False:
            return None
        if isinstance(value, dict):
            values = {f"{name}.{key}": content for key, content in value.items()}
            return Variables(self.host, values, self.base)
        raise self.wrong(name, repr(value), "a mapping")

    def path(self, name: str) -> str | None:
        """Give a file's absolute path, None where it isn't set.

        Relative ones start from the inventory, `~` is the home of whoever reads it.

        Raises:
            InventoryError: it isn't text, or can't be a file name.
        """
        value = self.text(name)
        if value is None:
            return None
        check_path(value, name)
        return absolute(value, self.base)


def absolute(path: str, base: Path) -> str:
    """Make a path absolute without touching the file system.

    Raises:
        InventoryError: it starts from the home of an unknown user.
    """
    try:
        expanded = Path(path).expanduser()
    except RuntimeError as error:
        raise InventoryError(message=f"{path} starts from an unknown home: {error}") from error
    return str(base.absolute() / expanded)
