"""What a lab is made of: hosts as they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ImageName = Literal["trixie", "forky"]


@dataclass(frozen=True)
class HostSpec:
    """One host of the lab, as wished.

    Args:
        name: its inventory name and hostname.
        image: the Debian suite; it decides the version of Nix and systemd.
        user: who deploys; root's login with the lab's key is refused if another.
        sudo: whether that user may become root, without a password.
        jump: the host through which alone this one is reachable.
        trusted: whether its Nix trusts that user with unsigned store paths.
        features: Nix system features that it builds for; a builder if there are any.

    """

    name: str
    image: ImageName = "trixie"
    user: str = "root"
    sudo: bool = False
    jump: str | None = None
    trusted: bool = True
    features: tuple[str, ...] = ()

    @property
    def is_builder(self) -> bool:
        """Return whether it belongs to the inventory group `builders`."""
        return bool(self.features)


DEFAULT_FLEET = (
    HostSpec("carbon"),
    HostSpec("beryllium", user="deploy", sudo=True),
    HostSpec("boron", jump="carbon"),
    HostSpec("nitrogen", image="forky"),
    HostSpec("forge", image="forky", features=("big-parallel", "cuda", "llama-deb")),
    HostSpec(
        "anvil",
        image="forky",
        features=("big-parallel", "rocm", "llama-deb", "gccarch-x86-64-v3"),
    ),
)


def fleet(count: int = len(DEFAULT_FLEET)) -> tuple[HostSpec, ...]:
    """Return `count` hosts: the six that have a role, then node-1, node-2 and so on."""
    further = (HostSpec(f"node-{number}") for number in range(1, count - len(DEFAULT_FLEET) + 1))
    return (*DEFAULT_FLEET, *further)[:count]


def named(names: tuple[str, ...]) -> tuple[HostSpec, ...]:
    """Return the hosts of these names, with their role if they have one."""
    roles = {spec.name: spec for spec in DEFAULT_FLEET}
    return tuple(roles.get(name) or HostSpec(name) for name in names)
