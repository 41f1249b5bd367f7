"""One lab for all tests that need one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, running_lab, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the lab where none can run; in CI that is a failure instead."""
    needing = [item for item in items if item.get_closest_marker("lab")]
    if not needing or os.environ.get("CI"):
        return
    if reason := why_not():
        for item in needing:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def fleet() -> Iterator[Lab]:
    """Give a lab with the six hosts; who breaks one puts it back."""
    with running_lab() as lab:
        yield lab
