"""What a host is in the end, asked without the product and without the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab import Host

_ASK = """
resolved() { [ -e "$1" ] && readlink -f "$1" || echo; }
state() { systemctl show --property=ActiveState --value "$1"; }
resolved /run/current-system
resolved /etc/static
cat /etc/greeting 2>/dev/null || echo
cat /run/greeter/greeting 2>/dev/null || echo
resolved /nix/var/nix/profiles/system
cat /boot/loader/default 2>/dev/null || echo
for unit in rollback.timer rollback.service activate.service; do
  state "orchestrate-$unit"
done
"""
_PARTS = """
readlink -f "$1/etc"
cat "$1/etc/greeting"
"""


@dataclass(frozen=True)
class Settled:
    """A host's system, part by part.

    Args:
        running: what `/run/current-system` is.
        parts: what is activated: /etc, its greeting, the greeting of the unit.
        expected: the same of the running system itself.
        profile: what the system profile is.
        loader: what the boot loader gives.
        busy: the units of ours that are not over.
    """

    running: str
    parts: tuple[str, str, str]
    expected: tuple[str, str, str]
    profile: str
    loader: str
    busy: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every part is of one system, which it boots too, and nothing is pending."""
        boots = {self.running, self.profile, self.loader}
        return self.parts == self.expected and len(boots) == 1 and not self.busy


def settled(host: Host) -> Settled:
    """Ask a host for every part of its system."""
    running, etc, greeting, greeted, profile, loader, *states = host.shell(_ASK).splitlines()
    own_etc, own = host.exec("sh", "-euc", _PARTS, "parts", running).stdout.splitlines()
    units = ("rollback.timer", "rollback.service", "activate.service")
    over = ("inactive", "failed")
    return Settled(
        running=running,
        parts=(etc, greeting, greeted),
        expected=(own_etc, own, own),
        profile=profile,
        loader=loader,
        busy=tuple(unit for unit, at in zip(units, states, strict=True) if at not in over),
    )
