"""The cgroup that holds every process of a lab, by which all of them can be ended."""

from __future__ import annotations

import os
import signal
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
        _kill(cgroup)
        for directory in _deepest_first(cgroup):
            try:
                directory.rmdir()
            except OSError:
                # A process in it has not finished dying.
                time.sleep(0.01)
                break


def _kill(cgroup: Path) -> None:
    at_once = cgroup / "cgroup.kill"
    if at_once.exists():
        at_once.write_text("1")
        return
    # Before Linux 5.14: one by one, again and again, as they may fork meanwhile.
    for directory in _deepest_first(cgroup):
        for pid in (directory / "cgroup.procs").read_text().split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue


def _deepest_first(cgroup: Path) -> Iterator[Path]:
    for directory, _, _ in os.walk(cgroup, topdown=False):
        yield Path(directory)
