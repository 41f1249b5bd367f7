"""Privilege: whether a login becomes root, asked before anything depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.scripts import program

if TYPE_CHECKING:
    from orchestrator.transport.shell import Shell

_TIMEOUT = 30.0


async def require_root(shell: Shell, stage: str) -> None:
    """Become root, and do nothing: a sudo that refuses is found before a host is changed.

    Args:
        shell: the host, with its way to root.
        stage: who needs it.

    Raises:
        CommandError: the login can't become root.
        UsageError: the password for it can't be read.
    """
    done = await shell.run_as_root(program("id", "-u", timeout=_TIMEOUT))
    if done.returncode == 0 and done.stdout.strip() == "0":
        return
    error = done.failure(stage, "its login can't become root")
    error.hint = error.hint or "see ansible_become_method, and what that allows this login there"
    raise error
