"""The lab's Nix for the tests that ask Nix itself, where the machine has none."""

from __future__ import annotations

import os
import shutil

from tests.lab import why_not
from tests.lab.bundle import nix_bundle


def pytest_configure() -> None:
    """Put it last on PATH; where no lab can be made, those tests are skipped."""
    if shutil.which("nix") is None and not why_not():
        os.environ["PATH"] += f"{os.pathsep}{nix_bundle() / 'bin'}"
