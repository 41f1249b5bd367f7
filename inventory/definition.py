"""What defines a variable: name, type, unit, default, place and sentence, once.

A definition stands beside the field that it fills, and gives the field its
default. Reading, the JSON schema and the reference in docs/ come from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from inventory.variables import Variables

Value = TypeVar("Value")
Read_co = TypeVar("Read_co", covariant=True)
Schema = dict[str, Any]

_DEFINITION = "definition"


class Kind(Protocol[Read_co]):
    """The type of a variable: how it is read, named and checked in an editor."""

    def read(self, variables: Variables, name: str) -> Read_co | None:
        """Read the variable; None if it isn't set.

        Raises:
            InventoryError: its value is of another type.
        """

    @property
    def words(self) -> str:
        """The type and the unit as the reference shows them."""

    @property
    def schema(self) -> Schema:
        """What JSON Schema calls the type."""


class Scope(Enum):
    """Where a variable may be set; the value is how the reference says it."""

    FLEET = "all"
    GROUP = "all, group"
    HOST = "all, group, host"


class Subject(Enum):
    """What a variable is about; the headings of the reference, in their order."""

    PACKAGE = "Flake, package and variant"
    EVALUATION = "Evaluation"
    BUILDERS = "Builders"
    CONNECTION = "Connection"
    GROUPS = "Groups"
    PRIVILEGE = "Privilege"
    COPIES = "Copies"
    ROLLOUT = "Rollout"
    ACTIVATION = "Activation and automatic rollback"
    SMOKE_TEST = "Smoke test and health check"
    REBOOT = "Reboot"


@dataclass(frozen=True, slots=True)
class Definition(Generic[Value]):
    """One variable.

    Args:
        name: as the user writes it; a key of a mapping has the mapping's name and
            a dot before it.
        kind: its type and unit.
        subject: what it is about.
        sentence: what it does, without a full stop.
        default: what holds if it isn't set.
        scope: where it may be set.
        otherwise: what holds if it isn't set, for a default that depends on more.
        required: whether a mapping without this key is refused.
    """

    name: str
    kind: Kind[Value]
    subject: Subject
    sentence: str
    default: Value = field(kw_only=True)
    scope: Scope = field(default=Scope.HOST, kw_only=True)
    otherwise: str = field(default="", kw_only=True)
    required: bool = field(default=False, kw_only=True)

    def read(self, variables: Variables) -> Value:
        """Read the variable, or return its default.

        Raises:
            InventoryError: its value is of another type.
        """
        found = self.kind.read(variables, self.name)
        return self.default if found is None else found

    @property
    def metadata(self) -> dict[str, Definition[Value]]:
        """What marks the field of a dataclass that it fills."""
        return {_DEFINITION: self}

    @property
    def default_words(self) -> str:
        """What holds if it isn't set, as the user would write it."""
        if self.required:
            return "must be set"
        return self.otherwise or _as_written(self.default)

    @property
    def mapping(self) -> str:
        """The mapping that it is a key of; empty if it stands for itself."""
        return self.name.rpartition(".")[0]

    @property
    def key(self) -> str:
        """Its name inside that mapping."""
        return self.name.rpartition(".")[2]


def _as_written(default: object) -> str:
    match default:
        case None | ():
            return "none"
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case tuple():
            return json.dumps(default)
    return str(default)


def filled_by(definition: Definition[Value]) -> Value:
    """Make the field of a dataclass that a variable fills, with its default."""
    made: Value = field(default=definition.default, metadata=definition.metadata)
    return made


def setting(  # noqa: PLR0913  the parts of a definition, in its order
    name: str,
    kind: Kind[Value],
    subject: Subject,
    sentence: str,
    *,
    default: Value,
    scope: Scope = Scope.HOST,
    otherwise: str = "",
) -> Value:
    """Make the field of a dataclass together with the variable that fills it."""
    return filled_by(
        Definition(name, kind, subject, sentence, default=default, scope=scope, otherwise=otherwise)
    )


def definitions_of(kind: type) -> tuple[Definition[Any], ...]:
    """Return the definitions of the variables that fill a dataclass."""
    return tuple(
        part.metadata[_DEFINITION] for part in fields(kind) if _DEFINITION in part.metadata
    )


def fill(kind: Callable[..., Value], variables: Variables, **given: object) -> Value:
    """Build a dataclass from the variables that fill its fields.

    Args:
        kind: the dataclass.
        variables: what the user wrote.
        given: the fields that aren't one variable each.

    Raises:
        InventoryError: a variable is of another type.
    """
    read = {
        part.name: part.metadata[_DEFINITION].read(variables)
        for part in fields(kind)  # type: ignore[arg-type]  # a dataclass makes itself
        if _DEFINITION in part.metadata and part.name not in given
    }
    return kind(**read, **given)
