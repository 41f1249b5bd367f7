"""What holds for all tests: those that need the lab are skipped where none can run."""

from __future__ import annotations

import os

import pytest

from tests.lab import why_not


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the lab where none can run; in CI that is a failure instead."""
    needing = [item for item in items if item.get_closest_marker("lab")]
    if not needing or os.environ.get("CI"):
        return
    if reason := why_not():
        for item in needing:
            item.add_marker(pytest.mark.skip(reason=reason))
