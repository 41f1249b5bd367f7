"""Why a build ended badly: because of what is built, or because of where. Pure.

A build that truly fails fails everywhere and isn't tried elsewhere. A builder
that is full, out of memory, killed or without its daemon says nothing of the
derivation: the work moves on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# nix-store(1), "Special exit codes for build failure": 100 for a failed build,
# 101 for its time limit, 102 for a hash that differs, 104 for a check that does.
_NIX_BUILD_FAILURES = range(100, 108)

# Nix 2.26 and 2.34 put it like this when a builder's own process failed.
_BUILDER_FAILED = ("failed with exit code", "builder failed with exit code")

_OF_THE_PLACE = (
    ("No space left on device", "its disk is full"),
    ("Cannot allocate memory", "it is out of memory"),
    ("Killed signal terminated program", "its memory ran out: the kernel killed the compiler"),
    ("due to signal 9", "the build was killed there"),
    ("failed due to signal 15", "the build was stopped there"),
    ("cannot connect to socket", "its nix-daemon does not answer"),
    ("unexpected end-of-file", "its nix-daemon went away"),
    ("Nix daemon disconnected", "its nix-daemon went away"),
    ("Input/output error", "its disk fails"),
    ("Read-only file system", "its disk can't be written"),
)

_OF_THE_CODE = {
    137: "the build was killed there",
    143: "the build was stopped there",
}


def trouble_of_builder(code: int, lines: Iterable[str]) -> str:
    """Say what is wrong with the builder; empty if the build itself failed.

    Args:
        code: how nix-store ended, or the script that started it.
        lines: the end of what Nix said.
    """
    said = tuple(lines)
    for sign, trouble in _OF_THE_PLACE:
        if any(sign in line for line in said):
            return trouble
    if code in _OF_THE_CODE:
        return _OF_THE_CODE[code]
    if code in _NIX_BUILD_FAILURES or any(
        sign in line for line in said for sign in _BUILDER_FAILED
    ):
        return ""
    return f"nix-store ended with {code} there before the build was over"
