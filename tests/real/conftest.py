"""The lab's Nix for the tests that ask Nix itself, where the machine has none."""

from __future__ import annotations

from tests.lab.lent_nix import lend_nix


def pytest_configure() -> None:
    """Lend it before the tests look for it; without it they are skipped."""
    lend_nix()
