"""What `nix copy` says while it copies, in Nix's own log format.

Source: Nix's `src/libutil/logging.hh`, the numbers of activities and results, which
have stayed the same since Nix 2.4.
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from orchestrator.command import LAST_LINES, printable

_PREFIX = "@nix "
_WARNING = 1
# What the target takes from a cache is told of as well, as a copy into its own store.
_OURS = ("unix://", "ssh-ng://")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(slots=True)
class CopyProgress:
    """How far a copy is, from the lines of `--log-format internal-json`.

    A copy that begins anew goes on in the same one: a path counts once.

    Args:
        moved: bytes of the paths that arrived, and of those on their way.
        recent: the last errors, warnings and lines that aren't Nix's.
    """

    moved: int = 0
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    _bytes: dict[str, int] = field(default_factory=dict)
    _activities: dict[int, str] = field(default_factory=dict)

    @property
    def paths(self) -> int:
        """How many paths arrived or are on their way."""
        return len(self._bytes)

    def hear(self, line: str) -> None:
        """Take a line; what isn't understood counts as something said."""
        event = _event(line)
        if event is None:
            self.recent.append(printable(line))
            return
        # 100 is the copy of a path, 105 how far something is.
        match event:
            case {
                "action": "start",
                "type": 100,
                "id": int(number),
                "fields": [str(path), _, str(store)],
            } if store.startswith(_OURS):
                self._activities[number] = path
                self._count(path, 0)
            case {"action": "result", "type": 105, "id": int(number), "fields": [int(moved), *_]}:
                if number in self._activities:
                    self._count(self._activities[number], moved)
            case {"action": "msg", "level": int(level), "msg": str(said)} if level <= _WARNING:
                lines = _COLOURS.sub("", said).splitlines()
                self.recent.extend(printable(part) for part in lines if part.strip())

    def _count(self, path: str, moved: int) -> None:
        self.moved += moved - self._bytes.get(path, 0)
        self._bytes[path] = moved


def _event(line: str) -> dict[str, Any] | None:
    if not line.startswith(_PREFIX):
        return None
    try:
        found = json.loads(line.removeprefix(_PREFIX))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
