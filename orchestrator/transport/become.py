"""The password that privilege on a host may need, read where it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from inventory.host import Host


def become_password(host: Host) -> str | None:
    """Read the password that the inventory refers to, where it refers to one.

    Raises:
        UsageError: the file can't be read.
    """
    file = host.become.password_file
    if file is None:
        return None
    try:
        return Path(file).read_text().rstrip("\n")
    except OSError as error:
        message = f"can't read the password file {file}: {error.strerror}"
        raise UsageError(
            message, host=host.name, hint="see orchestrate_become_password_file"
        ) from error
