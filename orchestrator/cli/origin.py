"""Where a run comes from: who runs the command, on which host, when."""

from __future__ import annotations

import getpass
import os
import socket
import time
from typing import TYPE_CHECKING

import click

from orchestrator.model.plan import Origin

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation


def origin_of(invocation: Invocation) -> Origin:
    """Read who runs this command, and the command without options that may hold a secret."""
    # A user who has become root by sudo is still the same user (sudo(8)).
    user = os.environ.get("SUDO_USER") or getpass.getuser()
    command = click.get_current_context().info_name or ""
    limit = f"--limit {invocation.limit}" if invocation.limit else ""
    return Origin(
        author=f"{user}@{socket.gethostname()}",
        started_at=time.time(),
        command=" ".join(part for part in (command, invocation.target, limit) if part),
        keep_days=invocation.configuration.keep_days,
        project=invocation.project,
    )
