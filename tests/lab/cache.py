"""What is costly to make and kept between labs, outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def cache_directory() -> Path:
    """Return the folder that holds the lab's images, made if missing."""
    chosen = os.environ.get("ORCHESTRATE_CACHE")
    if not chosen:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        chosen = f"{base}/orchestrate"
    directory = Path(chosen).absolute() / "lab"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def content_key(*parts: str | bytes) -> str:
    """Hash everything that decides an artefact into the key it is cached under."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """Return the cached artefact `name`; `make(path)` makes it if it is missing.

    It is made under another name and renamed, so an interrupted attempt is never
    taken for a whole one; a second process waits for the first.
    """
    path = cache_directory() / name
    if path.exists():
        return path
    with _locked(path.with_name(f".{name}.lock")):
        if not path.exists():
            unfinished = path.with_name(f".{name}.unfinished")
            _remove(unfinished)
            make(unfinished)
            unfinished.rename(path)
    return path


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
