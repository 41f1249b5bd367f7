"""The types that variables have: how each is read, named and checked in an editor.

A value of an INI inventory or of a plugin is text; what Ansible takes for a
number or a boolean is therefore taken for one here as well.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from inventory.names import check_path
from inventory.suggestion import did_you_mean
from inventory.variables import absolute

if TYPE_CHECKING:
    from inventory.definition import Schema
    from inventory.variables import Variables

# Ansible's own `bool` filter takes these.
_TRUE = frozenset({"true", "yes", "on", "1", "y"})
_FALSE = frozenset({"false", "no", "off", "0", "n"})
_FLAKE_PATH = re.compile(r"(?P<scheme>path:)?(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL)
_TEXT_SCHEMA = {"type": "string", "minLength": 1}
_TEXTS_SCHEMA = {"type": "array", "items": _TEXT_SCHEMA}

Member = TypeVar("Member", bound=StrEnum)


@dataclass(frozen=True)
class Text:
    """Text, as a rule not empty."""

    words: str = "text"
    may_be_empty: bool = False

    @property
    def schema(self) -> Schema:
        """A string."""
        return {"type": "string"} if self.may_be_empty else _TEXT_SCHEMA

    def read(self, variables: Variables, name: str) -> str | None:
        """Read text."""
        value = variables.raw(name, "text")
        if value is None:
            return None
        if isinstance(value, str) and (value or self.may_be_empty):
            return str(value)
        raise variables.wrong(name, repr(value), "text", "put it in quotation marks")


class FilePath:
    """A file; relative paths start from the inventory, `~` is the reader's home."""

    words = "path"

    @property
    def schema(self) -> Schema:
        """A string."""
        return _TEXT_SCHEMA

    def read(self, variables: Variables, name: str) -> str | None:
        """Read the path and make it absolute, because workers run elsewhere."""
        value = check_path(Text().read(variables, name), name)
        return None if value is None else absolute(value, variables.base)


class FlakeReference:
    """A flake reference, or a path as of `FilePath`.

    A path is what starts like one, or names something that is there; Nix would
    look up a bare word in its registry.
    """

    words = "flake reference or path"

    @property
    def schema(self) -> Schema:
        """A string."""
        return _TEXT_SCHEMA

    def read(self, variables: Variables, name: str) -> str | None:
        """Read the reference; a path in it becomes absolute."""
        value = check_path(Text().read(variables, name), name)
        found = _FLAKE_PATH.fullmatch(value) if value else None
        if found is None:
            return value
        path = found["path"]
        starts_like_one = path.startswith(("/", ".", "~")) or found["scheme"] is not None
        there = ":" not in path and path and Path(variables.base, path).exists()
        if starts_like_one or there:
            return f"{found['scheme'] or ''}{absolute(path, variables.base)}{found['rest']}"
        return value


@dataclass(frozen=True)
class Integer:
    """A whole number between two bounds, both possible."""

    unit: str = ""
    least: int | None = 1
    most: int | None = None

    @property
    def words(self) -> str:
        """The type and its bounds."""
        return f"{self.expected} ({self.unit})" if self.unit else self.expected

    @property
    def expected(self) -> str:
        """What an error says that it should have been."""
        if self.least is None:
            return "a whole number"
        if self.most is None:
            return f"a whole number of at least {self.least}"
        return f"a whole number from {self.least} to {self.most}"

    @property
    def schema(self) -> Schema:
        """An integer, or its digits as text."""
        bounds = {"minimum": self.least, "maximum": self.most}
        integer = {"type": "integer"} | {k: bound for k, bound in bounds.items() if bound}
        return {"anyOf": [integer, {"type": "string", "pattern": "^[0-9]+$"}]}

    def read(self, variables: Variables, name: str) -> int | None:
        """Read the number."""
        value = variables.raw(name, self.expected)
        if value is None:
            return None
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not self._allows(value):
            raise variables.wrong(name, repr(value), self.expected)
        return value

    def _allows(self, value: int) -> bool:
        low = self.least is None or value >= self.least
        return low and (self.most is None or value <= self.most)


@dataclass(frozen=True)
class Number:
    """A number above zero."""

    unit: str = ""

    @property
    def words(self) -> str:
        """The type and its unit."""
        return f"a number above zero ({self.unit})" if self.unit else "a number above zero"

    @property
    def schema(self) -> Schema:
        """A number, or one written as text."""
        number = {"type": "number", "exclusiveMinimum": 0}
        return {"anyOf": [number, {"type": "string", "pattern": "^[0-9.eE+-]+$"}]}

    def read(self, variables: Variables, name: str) -> float | None:
        """Read the number."""
        expected = "a number above zero"
        value = variables.raw(name, expected)
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
        raise variables.wrong(name, repr(value), expected)


class Boolean:
    """True or false, also in the words that Ansible takes for them."""

    words = "true or false"

    @property
    def schema(self) -> Schema:
        """A boolean, or one of the words in any case."""
        word = "|".join(sorted(_TRUE | _FALSE))
        either = "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in word)
        return {
            "anyOf": [
                {"type": "boolean"},
                {"enum": [0, 1]},
                {"type": "string", "pattern": f"^({either})$"},
            ]
        }

    def read(self, variables: Variables, name: str) -> bool | None:
        """Read the boolean."""
        value = variables.raw(name, self.words)
        if value is None or isinstance(value, bool):
            return value
        word = str(value).lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise variables.wrong(name, repr(value), self.words)


@dataclass(frozen=True)
class Choice(Generic[Member]):
    """One of the values of an enumeration.

    Args:
        members: those that can be chosen.
        namespaced: whether a value may have the name of an Ansible collection in
            front, such as community.general.
    """

    members: tuple[Member, ...]
    namespaced: bool = False

    @property
    def words(self) -> str:
        """The values."""
        *others, last = self.members
        return f"{', '.join(others)} or {last}" if others else last

    @property
    def schema(self) -> Schema:
        """The values."""
        if self.namespaced:
            return {"type": "string", "pattern": rf"^(.*\.)?({'|'.join(self.members)})$"}
        return {"enum": [str(member) for member in self.members]}

    def read(self, variables: Variables, name: str) -> Member | None:
        """Read the value."""
        value = variables.raw(name, self.words)
        if value is None:
            return None
        word = str(value).rpartition(".")[2] if self.namespaced else value
        for member in self.members:
            if word == member:
                return member
        hint = did_you_mean(str(word), self.members)
        raise variables.wrong(name, repr(value), self.words, hint)


@dataclass(frozen=True)
class Choices(Generic[Member]):
    """A list of values of an enumeration, in its order."""

    members: tuple[Member, ...]

    @property
    def words(self) -> str:
        """The values."""
        return f"a list out of: {', '.join(self.members)}"

    @property
    def schema(self) -> Schema:
        """A list of the values; one alone stands for a list of one."""
        one = {"enum": [str(member) for member in self.members]}
        return {"anyOf": [one, {"type": "array", "items": one}]}

    def read(self, variables: Variables, name: str) -> tuple[Member, ...] | None:
        """Read the values."""
        chosen = Texts().read(variables, name)
        if chosen is None:
            return None
        for text in chosen:
            if text not in self.members:
                hint = did_you_mean(text, self.members)
                raise variables.wrong(name, repr(text), self.words, hint)
        return tuple(member for member in self.members if member in chosen)


@dataclass(frozen=True)
class Texts:
    """A list of texts; one text alone stands for a list of one."""

    words: str = "a list of texts"

    @property
    def schema(self) -> Schema:
        """A list of strings, or a string."""
        return {"anyOf": [_TEXT_SCHEMA, _TEXTS_SCHEMA]}

    def read(self, variables: Variables, name: str) -> tuple[str, ...] | None:
        """Read the texts."""
        value = variables.raw(name, self.words)
        if value is None:
            return None
        items = [value] if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(item, str) and item for item in items):
            return tuple(str(item) for item in items)
        raise variables.wrong(name, repr(value), self.words)


class ShellCommand:
    """A command: a list of arguments, or a line for sh. False unsets it."""

    words = "a command: a list of arguments, or a line for sh"

    @property
    def schema(self) -> Schema:
        """A line, a list of strings, or false."""
        items = {**_TEXTS_SCHEMA, "minItems": 1}
        return {"anyOf": [_TEXT_SCHEMA, items, {"const": False}]}

    def read(self, variables: Variables, name: str) -> tuple[str, ...] | None:
        """Read the command as an argument vector."""
        value = variables.raw(name, self.words)
        if value is None or value is False:
            return None
        argv = ("sh", "-c", value) if isinstance(value, str) else Texts().read(variables, name)
        if not argv or not argv[-1]:
            raise variables.wrong(name, repr(value), self.words)
        return argv


class Arguments:
    """A command without a shell: a line would be one long name of a program."""

    words = "a list of arguments"

    @property
    def schema(self) -> Schema:
        """A list of strings, or false."""
        return {"anyOf": [_TEXTS_SCHEMA, {"const": False}]}

    def read(self, variables: Variables, name: str) -> tuple[str, ...] | None:
        """Read the arguments; false unsets what a group sets."""
        expected = f"{self.words}, such as [pass, show, sudo]"
        value = variables.raw(name, expected)
        if value is None or value is False:
            return None
        if isinstance(value, str):
            raise variables.wrong(name, repr(value), expected)
        return Texts().read(variables, name)


class Keys:
    """A mapping whose keys are variables of their own. False unsets it."""

    words = "a mapping"

    @property
    def schema(self) -> Schema:
        """What stands for no mapping; the mapping itself comes from its keys."""
        return {"const": False}

    def read(self, variables: Variables, name: str) -> Variables | None:
        """Read the mapping as the variables in it."""
        value = variables.raw(name, self.words)
        if value is None or value is False:
            return None
        if isinstance(value, dict):
            return variables.below(name, value)
        raise variables.wrong(name, repr(value), self.words)
