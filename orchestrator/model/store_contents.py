"""What stores have already of what a plan wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.model.store import StorePath


@dataclass(frozen=True, slots=True)
class StoreContents:
    """What one machine's store answered, of the paths that it was asked about.

    `valid` maps a path to its own size in bytes, without what it refers to.
    `substitutable` are paths that one of its substituters has, and `download` is
    how many bytes they all are to fetch, with what they need.
    """

    valid: Mapping[StorePath, int] = field(default_factory=dict)
    substitutable: frozenset[StorePath] = frozenset()
    download: int = 0
