"""What of a system is in use only once the host has booted it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class BootPart(StrEnum):
    """A link in a system, as NixOS calls it, to what only a reboot puts in use."""

    KERNEL = "kernel"
    INITRD = "initrd"
    KERNEL_MODULES = "kernel-modules"

    @property
    def label(self) -> str:
        """What it is for a reader: drivers that aren't the kernel's own are modules too."""
        return "kernel modules and drivers" if self is BootPart.KERNEL_MODULES else self.value


def changed_parts(parts: Sequence[str]) -> str:
    """Name what needs a reboot for a reader."""
    return ", ".join(_LABELS.get(part, part) for part in parts)


_LABELS: dict[str, str] = {part.value: part.label for part in BootPart}
