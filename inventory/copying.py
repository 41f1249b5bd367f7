"""How closures come to a host: from which caches, by which route, how much at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from inventory.definition import Scope, Subject, setting
from inventory.kinds import Choice, Integer, Number, Texts
from orchestrator.errors import InventoryError

# A store's URL as Nix writes it (Nix manual, "Store Types"), without the spaces
# and the control characters that would end it in a setting.
_STORE_URL = re.compile(r"[a-z][a-z0-9+]*://[!-~]+", re.ASCII)
# NAME:BASE64, as `nix key convert-secret-to-public` prints it: 32 bytes of ed25519.
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*:[A-Za-z0-9+/]{43}=", re.ASCII)


class CopyRoute(StrEnum):
    """The way of a closure: from builder to target, or through the controller."""

    AUTO = "auto"
    DIRECT = "direct"
    RELAY = "relay"


class Compression(StrEnum):
    """Whether closures travel compressed; `auto` measures whether that is faster."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Caches:
    """Binary caches that a host takes paths from, besides those it is set up with.

    Raises:
        InventoryError: a URL or a key isn't one, or the keys are missing.
    """

    substituters: tuple[str, ...] = setting(
        "orchestrate_substituters",
        Texts("a list of URLs"),
        Subject.COPIES,
        "Binary caches for copies to the host and for builds on it,"
        " such as https://nix-community.cachix.org",
        default=(),
    )
    public_keys: tuple[str, ...] = setting(
        "orchestrate_trusted_public_keys",
        Texts("a list of public keys, NAME:BASE64"),
        Subject.COPIES,
        "Keys that sign in `orchestrate_substituters`",
        default=(),
    )

    def __post_init__(self) -> None:
        """Refuse what would be read as something else in Nix's settings."""
        for url in self.substituters:
            if not _STORE_URL.fullmatch(url):
                raise InventoryError(
                    message=f"substituter {url!r} is not the URL of a binary cache",
                    hint="such as https://nix-community.cachix.org",
                )
        for key in self.public_keys:
            check_signing_key(key, "trusted public key")
        if self.substituters and not self.public_keys:
            raise InventoryError(
                message="orchestrate_substituters are named, and no key that signs there",
                hint="add orchestrate_trusted_public_keys, as the cache publishes them",
            )


@dataclass(frozen=True, slots=True)
class Copying:
    """How closures travel to one host."""

    route: CopyRoute = setting(
        "orchestrate_copy_route",
        Choice(tuple(CopyRoute)),
        Subject.COPIES,
        "Way of a closure: from the builder to the host, or through the controller;"
        " `auto` copies much directly and little through the controller",
        default=CopyRoute.AUTO,
    )
    compression: Compression = setting(
        "orchestrate_copy_compression",
        Choice(tuple(Compression)),
        Subject.COPIES,
        "Whether closures travel compressed; `auto` measures the link",
        default=Compression.AUTO,
    )


@dataclass(frozen=True, slots=True)
class CopyLimits:
    """What copies may take together."""

    at_once: int = setting(
        "orchestrate_copies_at_once",
        Integer("hosts"),
        Subject.COPIES,
        "How many hosts a worker copies to at a time",
        default=8,
        scope=Scope.FLEET,
    )
    bandwidth_mbit: float | None = setting(
        "orchestrate_copy_bandwidth_mbit",
        Number("Mbit/s"),
        Subject.COPIES,
        "What all copies that pass through a worker may take together",
        default=None,
        scope=Scope.FLEET,
        otherwise="no limit",
    )


def check_signing_key(value: str | None, what: str) -> str | None:
    """Return a public key of Nix's signatures.

    Raises:
        InventoryError: it isn't one.
    """
    if value is None or _PUBLIC_KEY.fullmatch(value):
        return value
    raise InventoryError(
        message=f"{what} {value!r} is not a key as Nix writes it",
        hint="NAME:BASE64, such as cache.nixos.org-1:6NCH…="
        " (nix key convert-secret-to-public prints it)",
    )
