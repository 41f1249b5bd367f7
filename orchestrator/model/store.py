"""Nix store paths, checked where they enter the program."""

from __future__ import annotations

import re
from typing import NewType

from orchestrator.errors import PayloadError

# A path of the form /nix/store/<32 characters of Nix's base 32>-<name>; the
# alphabet leaves out e, o, t and u, and the name's characters are those of the
# Nix manual, "Store path". Nothing in it needs quoting in a shell.
_STORE_PATH = re.compile(r"/nix/store/[0-9a-df-np-sv-z]{32}-[0-9a-zA-Z+\-._?=]{1,211}")

StorePath = NewType("StorePath", str)
"""An output's or a source's store path, such as `/nix/store/…-nixos-system-carbon-25.05`."""

DerivationPath = NewType("DerivationPath", str)
"""A store path that ends in `.drv`."""


def parse_store_path(text: str) -> StorePath:
    """Check that `text` is a store path itself, not a file inside one.

    Raises:
        PayloadError: it is anything else.
    """
    if not _STORE_PATH.fullmatch(text):
        message = f"expected a store path, found {text[:120]!r}"
        raise PayloadError(message)
    return StorePath(text)


def store_path_around(text: str) -> StorePath:
    """Return the store path that a file is in, or that `text` is itself.

    Raises:
        PayloadError: it is in none.
    """
    found = _STORE_PATH.match(text)
    end = found.end() if found else 0
    if text[end : end + 1] not in ("", "/"):
        end = 0
    return parse_store_path(text[:end])


def parse_derivation_path(text: str) -> DerivationPath:
    """Check that `text` is the store path of a derivation.

    Raises:
        PayloadError: it is anything else.
    """
    path = parse_store_path(text)
    if not path.endswith(".drv"):
        message = f"expected a derivation's store path, found {text[:120]!r}"
        raise PayloadError(message)
    return DerivationPath(path)


def store_name(path: StorePath | DerivationPath) -> str:
    """Return the name part: what follows the hash."""
    return path.removeprefix("/nix/store/")[33:]


def derivation_name(path: DerivationPath) -> str:
    """Return what a derivation is called from one version of its inputs to the next."""
    return store_name(path).removesuffix(".drv")


def store_hash(path: StorePath | DerivationPath) -> str:
    """Return the 32 characters that make the path unique."""
    return path.removeprefix("/nix/store/")[:32]
