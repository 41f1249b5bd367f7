"""Where this program keeps what outlives a command, under the XDG directories.

A leaf: it names paths and creates none.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workspace:
    """One project's directory; a project is an inventory file or directory."""

    directory: Path

    @property
    def flake(self) -> Path:
        """The generated flake, with its flake.lock."""
        return self.directory / "flake"

    @property
    def evaluation_cache(self) -> Path:
        """What Nix made of the flake last (`stages.evaluate.cache`)."""
        return self.directory / "evaluated.json"

    @property
    def log(self) -> Path:
        """The program's own log, one JSON object a line."""
        return self.directory / "log.jsonl"


def state_home() -> Path:
    """Return `$XDG_STATE_HOME/orchestrate` (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "orchestrate"


def spool_directory(broker: str | None) -> Path:
    """Return where runs wait for this broker (`deploy.spool`), None for the private one.

    A broker's URL may hold a password, so that its directory has a digest for a name.
    """
    digest = "private" if broker is None else hashlib.sha256(broker.encode()).hexdigest()[:12]
    return state_home() / "kept-runs" / digest


def workspace_for(inventory: Path) -> Workspace:
    """Return the workspace of the project that this inventory describes."""
    path = inventory.resolve()
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    return Workspace(state_home() / "projects" / f"{path.parent.name}-{digest}")
