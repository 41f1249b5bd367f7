"""Damage: whether a package that failed is on its host as it was built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.model.stage import Stage
from orchestrator.scripts import answer_of, script

if TYPE_CHECKING:
    from orchestrator.model.store import StorePath
    from orchestrator.transport.shell import Shell

_TIMEOUT = 600.0
"""Seconds to read the closure of a GPU's libraries from a slow disk: gigabytes."""


async def damaged_paths(shell: Shell, package: StorePath) -> tuple[str, ...]:
    """Read all files of a package's closure, and return the paths that are not as they were built.

    Raises:
        CommandError: its store can't be asked.
        UnreachableError: the connection broke.
    """
    shared = "stages/smoke/damaged.sh"
    asked = script("stages/smoke/verify_closure.sh", shared=shared, path=package, timeout=_TIMEOUT)
    answer = answer_of(await shell.run_as_root(asked), Stage.ROLLBACK, "its store can't be asked")
    return answer.every("damaged")
