"""The lab's Nix for tests that ask Nix itself, on a machine that has none."""

from __future__ import annotations

import os
import shutil

from tests.lab import why_not
from tests.lab.bundle import nix_bundle


def lend_nix() -> None:
    """Put it last on PATH; where no lab can be made there is none to lend."""
    if shutil.which("nix") is None and not why_not():
        os.environ["PATH"] += f"{os.pathsep}{nix_bundle() / 'bin'}"
