"""The `host_vars/` and `group_vars/` directories beside an inventory.

Which files count is Ansible's page "How to build your inventory", section
"Organizing host and group variables": the name alone, then with .yml, .yaml and
.json, the first that exists; a directory of that name is read in order of the
file names, hidden files and backups left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inventory import yaml_file
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_EXTENSIONS = ("", ".yml", ".yaml", ".json")


def read_variables(directory: Path, name: str) -> dict[str, object]:
    """Read the variables of one host or group; empty if there are none.

    Raises:
        InventoryError: a file isn't YAML or isn't a mapping.
        NotNativeError: a file is encrypted by ansible-vault.
    """
    variables: dict[str, object] = {}
    for path in _files(directory, name):
        document = yaml_file.load(path)
        if document is None:
            continue
        if not isinstance(document, dict):
            raise InventoryError(
                message=f"{path} must map variable names to values, "
                f"and is a {type(document).__name__}",
            )
        variables |= {str(key): value for key, value in document.items()}
    return variables


def _files(directory: Path, name: str) -> Iterator[Path]:
    for extension in _EXTENSIONS:
        path = directory / f"{name}{extension}"
        if path.is_dir():
            yield from _files_below(path)
            return
        if path.is_file():
            yield path
            return


def _files_below(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.is_dir() and not path.suffix:
            yield from _files_below(path)
        elif path.is_file() and path.suffix in _EXTENSIONS:
            yield path
