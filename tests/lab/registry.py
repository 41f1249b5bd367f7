"""Which labs run on this machine, and the machine's settings that they share."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tests.lab.processes import LabError
from tests.lab.spec import HostSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

_RUN = Path("/run/orchestrate-lab")
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
# Each systemd takes some; the default of 128 ends at about 30 hosts.
_INOTIFY_NEEDED = 8192
_INOTIFY_BEFORE = "inotify-before"


@dataclass(frozen=True)
class HostRecord:
    """A host of a running lab: what was asked for, and who keeps it powered."""

    spec: HostSpec
    supervisor: int


@dataclass(frozen=True)
class LabRecord:
    """All that another process needs to reach a running lab."""

    lab_id: str
    directory: str
    cgroup: str
    owner: int
    background: bool
    switch: int
    controller: int
    hosts: tuple[HostRecord, ...]

    def save(self) -> None:
        """Make the lab findable."""
        temporary = _RUN / f"{self.lab_id}.tmp"
        temporary.write_text(json.dumps(asdict(self)))
        temporary.rename(_RUN / f"{self.lab_id}.json")


def _load(path: Path) -> LabRecord:
    data = json.loads(path.read_text())
    hosts = tuple(
        HostRecord(
            HostSpec(**{**host["spec"], "features": tuple(host["spec"]["features"])}),
            host["supervisor"],
        )
        for host in data["hosts"]
    )
    return LabRecord(**{**data, "hosts": hosts})


def _lock() -> TextIO:
    while True:
        _RUN.mkdir(mode=0o700, exist_ok=True)
        try:
            lock = (_RUN / "lock").open("w")
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        # The last lab removes the folder: a lock in what is gone locks nothing.
        with suppress(FileNotFoundError):
            if os.fstat(lock.fileno()).st_ino == (_RUN / "lock").stat().st_ino:
                return lock
        lock.close()


@contextmanager
def _locked() -> Iterator[None]:
    with _lock():
        yield


@dataclass(frozen=True)
class Entry:
    """A lab that was counted in: where it is, and who will end it."""

    lab_id: str
    directory: str
    reaper: int

    @property
    def is_watched(self) -> bool:
        """Return whether its reaper lives, rather than another process of that number."""
        with suppress(FileNotFoundError, ProcessLookupError):
            return self.lab_id in Path(f"/proc/{self.reaper}/cmdline").read_text()
        return False


def enter(entry: Entry) -> None:
    """Count a lab in, and raise what all labs need raised."""
    with _locked():
        (_RUN / f"{entry.lab_id}.here").write_text(json.dumps(asdict(entry)))
        before = _INOTIFY.read_text().strip()
        if int(before) < _INOTIFY_NEEDED:
            (_RUN / _INOTIFY_BEFORE).write_text(before)
            _INOTIFY.write_text(str(_INOTIFY_NEEDED))


def leave(lab_id: str) -> None:
    """Count a lab out; the last one puts the machine's settings back."""
    with _locked():
        for path in _RUN.glob(f"{lab_id}.*"):
            path.unlink()
        if any(_RUN.glob("*.here")):
            return
        before = _RUN / _INOTIFY_BEFORE
        if before.exists():
            _INOTIFY.write_text(before.read_text())
        shutil.rmtree(_RUN)


def entries() -> tuple[Entry, ...]:
    """Return the labs that are counted in, up or not."""
    found: list[Entry] = []
    with _locked():
        for path in _RUN.glob("*.here"):
            # Not ours to judge: written by another version of this file.
            with suppress(ValueError, TypeError):
                found.append(Entry(**json.loads(path.read_text())))
    return tuple(found)


def running() -> tuple[LabRecord, ...]:
    """Return the labs that are up."""
    labs: list[LabRecord] = []
    for path in sorted(_RUN.glob("*.json")):
        # One that ends at this moment is none.
        with suppress(FileNotFoundError):
            labs.append(_load(path))
    return tuple(labs)


def find(lab_id: str | None = None) -> LabRecord:
    """Return the lab of this id, or the only one, or the only one in the background."""
    labs = [lab for lab in running() if lab_id in (None, lab.lab_id)]
    if len(labs) > 1:
        labs = [lab for lab in labs if lab.background]
    if len(labs) == 1:
        return labs[0]
    known = ", ".join(lab.lab_id for lab in running()) or "none"
    message = f"which lab? running: {known}; start one with `up` or choose with --lab"
    raise LabError(message)
