"""How a lab ends, and how what an earlier one left is found."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tests.lab import registry
from tests.lab.cgroups import cgroup_of, remove_tree


def tear_down(lab_id: str, directory: Path) -> None:
    """Remove the lab's processes, and with them its namespaces and mounts; its files."""
    remove_tree(cgroup_of(lab_id))
    # Mounts go with the last process of their namespace, a moment later.
    for _ in range(100):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            break
        time.sleep(0.05)
    registry.leave(lab_id)


def tear_down_abandoned() -> None:
    """Remove the labs whose reaper was killed, so that nothing else will."""
    for entry in registry.entries():
        if not entry.is_watched:
            tear_down(entry.lab_id, Path(entry.directory))
