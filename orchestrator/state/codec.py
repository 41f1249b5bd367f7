"""What is read back from Redis, where anybody could have changed it."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from orchestrator.errors import PayloadError

T = TypeVar("T")


def read_back(data: bytes | str, kind: type[T], what: str, remedy: str, stage: str = "") -> T:
    """Read an entry that was written as JSON.

    Args:
        data: the entry.
        kind: what it has to be.
        what: names it in the error.
        remedy: what the user can do about a damaged one.
        stage: where it is needed.

    Raises:
        PayloadError: it is something else.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{what} can't be read back: {error}"
        hint = f"another version wrote it, or it was changed in Redis: {remedy}"
        raise PayloadError(message, stage=stage, hint=hint) from error


def as_text(value: bytes | str) -> str:
    """Return a key or a field as text, whatever it was changed to."""
    return value if isinstance(value, str) else value.decode(errors="replace")
