"""The changes as a diff that `git apply` takes."""

from __future__ import annotations

from difflib import unified_diff
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.adopt.draft import Change

_NOWHERE = "/dev/null"


def diff_lines(change: Change) -> Iterator[str]:
    """Return a change's lines, without their line breaks."""
    yield f"diff --git a/{change.path} b/{change.path}"
    if change.before is None:
        yield "new file mode 100644"
    if change.after is None:
        yield "deleted file mode 100644"
    before = _NOWHERE if change.before is None else f"a/{change.path}"
    after = _NOWHERE if change.after is None else f"b/{change.path}"
    for line in unified_diff(_lines(change.before), _lines(change.after), before, after):
        yield line.removesuffix("\n")
        if not line.endswith("\n"):
            yield "\\ No newline at end of file"


def _lines(text: bytes | None) -> list[str]:
    decoded = (text or b"").decode(errors="surrogateescape")
    # Not splitlines(): Nix and git know one line break.
    return [f"{line}\n" for line in decoded.split("\n")[:-1]] + (
        [decoded.rpartition("\n")[2]] if decoded.rpartition("\n")[2] else []
    )
