"""The variables of one host as they are written, with the errors that name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inventory.source import UnsafeText, Vaulted
from orchestrator.errors import InventoryError


@dataclass(frozen=True, slots=True)
class Variables:
    """Look-up by name; every error names host, variable, value and expectation.

    Args:
        host: whose they are; empty for the fleet's.
        values: name to value, as written.
        base: the directory that relative paths start from.
    """

    host: str
    values: Mapping[str, object]
    base: Path

    def raw(self, name: str, expected: str) -> object:
        """Return a value as written; None if it isn't set.

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
        """Build the error for a value of the wrong kind."""
        return InventoryError(
            message=f"{name} is {found}, expected {expected}", hint=hint, host=self.host
        )

    def below(self, name: str, mapping: Mapping[object, object]) -> Variables:
        """Return the keys of a mapping as variables, each with the mapping's name before it."""
        values = {f"{name}.{key}": content for key, content in mapping.items()}
        return Variables(self.host, values, self.base)


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
