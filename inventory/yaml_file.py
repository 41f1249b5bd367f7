"""One YAML file, read strictly: no duplicate keys, no code, errors with a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from inventory.source import NotNativeError, UnsafeText, Vaulted
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

_MERGE_TAG = "tag:yaml.org,2002:merge"
_TIMESTAMP_TAG = "tag:yaml.org,2002:timestamp"


class _DuplicateKeyError(yaml.constructor.ConstructorError):
    """A mapping has a key twice; YAML itself forbids it, PyYAML takes the last."""


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and knows Ansible's two tags."""

    # ansible-inventory prints dates as text, so they stay what was written.
    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML's own way to set resolvers
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP_TAG]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002  the signature is PyYAML's
    ) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE_TAG:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                continue
            if key in seen:
                raise _DuplicateKeyError(
                    problem=f"key {key!r} is there twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _vaulted(loader: _StrictLoader, node: yaml.ScalarNode) -> Vaulted:
    return Vaulted(str(loader.construct_scalar(node)))


def _unsafe(loader: _StrictLoader, node: yaml.ScalarNode) -> UnsafeText:
    return UnsafeText(loader.construct_scalar(node))


_StrictLoader.add_constructor("!vault", _vaulted)
_StrictLoader.add_constructor("!unsafe", _unsafe)


def load(path: Path) -> object:
    """Read a file as YAML.

    Raises:
        InventoryError: it can't be read, isn't YAML, or has a key twice.
        NotNativeError: the whole file is encrypted by ansible-vault.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError(message=f"{path} can't be read: {error}") from error
    if text.startswith("$ANSIBLE_VAULT;"):
        message = f"{path} is encrypted by ansible-vault"
        raise NotNativeError(message)
    try:
        # A subclass of SafeLoader: it makes plain data only.
        document: object = yaml.load(text, Loader=_StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InventoryError(message=f"{place}: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InventoryError(message=f"{path} is not YAML: {error}") from error
    return document
