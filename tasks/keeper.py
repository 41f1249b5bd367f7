"""Keep the private server: a process that outlives the command that started it.

It starts the server, starts it again when it dies, and ends it when its last
user has gone. Users hold a shared lock on `users.lock`, which the kernel takes
from those that were killed as well. Run by its path, with the standard library
alone, so that it is there at once.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

_STARTS = 5
"""How often a server that dies is started; beyond that something is wrong with it."""


def supervise(directory: Path, alive: int, command: list[str]) -> int:
    """Keep the server that `command` starts; return 1 if it died too often.

    Args:
        directory: where the locks are.
        alive: an open file with a lock, which the server holds to its very end.
        command: the server's, in the foreground.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=_end_when_unused, args=[directory], daemon=True).start()
    for _ in range(_STARTS):
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(alive,))
        try:
            server.wait()
        finally:
            server.terminate()
            server.wait()
    return 1


def _end_when_unused(directory: Path) -> None:
    """Wait until no other process has the lock; holding it keeps new users waiting."""
    users = os.open(directory / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(users, fcntl.LOCK_EX)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(supervise(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
