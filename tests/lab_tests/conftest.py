"""One lab for all tests that need one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, running_lab

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def fleet() -> Iterator[Lab]:
    """Yield a lab with the six hosts; a test that breaks one puts it back."""
    with running_lab() as lab:
        yield lab
