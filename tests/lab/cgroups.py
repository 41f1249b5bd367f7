"""The cgroup that holds every process of a lab, by which all of them can be ended."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNT = Path("/sys/fs/cgroup")


def cgroup_of(lab_id: str) -> Path:
    """Name the lab's cgroup, below cgroup2 or below it beside the old hierarchies."""
    unified = _MOUNT / "unified"
    return (unified if unified.is_dir() else _MOUNT) / f"orchestrate-lab-{lab_id}"


def remove_tree(cgroup: Path, seconds: float = 20) -> None:
    """Kill everything in the cgroup and below, then remove it."""
    deadline = time.monotonic() + seconds
    while cgroup.is_dir() and time.monotonic() < deadline:
        # Atomic over the tree, forks included (Linux 5.14).
        (cgroup / "cgroup.kill").write_text("1")
        for directory in _deepest_first(cgroup):
            try:
                directory.rmdir()
            except OSError:
                # A process in it has not finished dying.
                time.sleep(0.01)
                break


def _deepest_first(cgroup: Path) -> Iterator[Path]:
    for directory, _, _ in os.walk(cgroup, topdown=False):
        yield Path(directory)
