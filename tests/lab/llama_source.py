"""llama.cpp's real source tree, out of the source distribution of llama-cpp-python."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.lab.cache import cached
from tests.lab.pypi import Distribution, download

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = Distribution(
    "llama-cpp-python",
    "0.3.36",
    "llama_cpp_python-0.3.36.tar.gz",
    "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
)
_TREE = "llama_cpp_python-0.3.36/vendor/llama.cpp/"


def llama_source() -> Path:
    """Return a folder with llama.cpp as upstream has it, `.devops/nix` included."""
    return cached(f"llama.cpp-{SOURCE.version}-{SOURCE.sha256[:16]}", _unpack)


def _unpack(target: Path) -> None:
    # tar(1), for tarfile's filters came with Python 3.11.4 and Debian 12 has 3.11.2.
    target.mkdir()
    depth = f"--strip-components={_TREE.count('/')}"
    argv = ("tar", "--extract", "--file", str(download(SOURCE)), "--directory", str(target))
    subprocess.run((*argv, "--no-same-owner", depth, _TREE), check=True)


if __name__ == "__main__":
    print(llama_source())  # noqa: T201 - the path is what it is run for
