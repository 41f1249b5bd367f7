"""What the user probably meant, for the hint of an error."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Name the known words closest to a misspelt one, or all of them if few.

    Returns:
        A sentence without a full stop; empty if nothing helps.
    """
    words = sorted(set(known))
    close = difflib.get_close_matches(word, words, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    few = 12
    return f"known are {', '.join(words)}" if 0 < len(words) <= few else ""
