"""Ends a lab, whatever became of its owner. Run as a process of its own.

It waits for its standard input to close or its owner to die, and removes
everything of the lab. The ordinary end of a lab goes this way too, so this is
never code that only runs on a bad day.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

from tests.lab.teardown import tear_down


def _wait_for_end(owner: int) -> None:
    watched: list[int] = [sys.stdin.fileno()]
    try:
        # Also the owner itself: a child that it forked may hold the pipe open.
        watched.append(os.pidfd_open(owner))
    except ProcessLookupError:
        return
    select.select(watched, [], [])


def main() -> None:
    """Wait, then tear down: `python -m tests.lab.reaper LAB_ID DIRECTORY OWNER`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    lab_id, directory, owner = sys.argv[1:]
    _wait_for_end(int(owner))
    tear_down(lab_id, Path(directory))


if __name__ == "__main__":
    main()
