"""The user's files with the changes made so far, of which nothing is written yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.adopt.edit import apply
from orchestrator.adopt.syntax import Source, parse
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.adopt.edit import Edit


@dataclass(frozen=True, slots=True)
class Change:
    """A file's bytes before and after; None if it doesn't exist."""

    path: str
    before: bytes | None
    after: bytes | None


@dataclass(slots=True)
class Draft:
    """The tree under `root`. Steps change it in memory, one after the other.

    `files` are the Nix files that belong to it, relative to `root`. `notes` is
    what a step has to report to the user.
    """

    root: Path
    files: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    _texts: dict[str, bytes | None] = field(default_factory=dict)
    _parsed: dict[str, Source] = field(default_factory=dict)

    def text(self, path: str) -> bytes | None:
        """Return a file's bytes as they are now; None if there is no file.

        Raises:
            UsageError: it is reached through a link that leads out of the tree.
        """
        if path not in self._texts:
            file = self._inside(path)
            return file.read_bytes() if file.is_file() else None
        return self._texts[path]

    def source(self, path: str) -> Source | None:
        """Return a file parsed as it is now; None if there is no file."""
        text = self.text(path)
        if text is None:
            return None
        if path not in self._parsed or self._parsed[path].text != text:
            self._parsed[path] = parse(path, text)
        return self._parsed[path]

    def sources(self, *, naming: bytes) -> Iterator[Source]:
        """Return the files of the tree in whose text something occurs."""
        for path in self.files:
            if naming in (self.text(path) or b"") and (source := self.source(path)):
                yield source

    def edit(self, source: Source, edits: Iterable[Edit]) -> None:
        """Change a file that was just read."""
        self.put(source.path, apply(source.text, edits))

    def put(self, path: str, text: bytes | None) -> None:
        """Replace a file's text, or delete the file."""
        self._inside(path)
        self._texts[path] = text

    def changes(self) -> tuple[Change, ...]:
        """Return what differs from the disk, by path."""
        found = []
        for path, after in sorted(self._texts.items()):
            file = self._inside(path)
            before = file.read_bytes() if file.is_file() else None
            if before != after:
                found.append(Change(path, before, after))
        return tuple(found)

    def resolve(self, origin: str, literal: str) -> str | None:
        """Return the file that a path in a file means: itself or its default.nix.

        None for what is outside of the tree, computed, or not there.
        """
        if not literal.startswith(("./", "../")) or "${" in literal:
            return None
        path = relative(origin, literal)
        if path is None:
            return None
        if (self.root / path).is_dir():
            path = normal(PurePosixPath(path) / "default.nix")
        return path if path is not None and self.text(path) is not None else None

    def _inside(self, path: str) -> Path:
        file = (self.root / path).resolve()
        if not file.is_relative_to(self.root.resolve()):
            message = f"{path} leads out of {self.root} through a symbolic link"
            raise UsageError(message, hint="adopt the tree that it leads to, or replace the link")
        return file


def relative(origin: str, literal: str) -> str | None:
    """Return the file that a path in a file names, whether it exists or not."""
    return normal(PurePosixPath(origin).parent / literal)


def normal(path: PurePosixPath) -> str | None:
    """Return a path without `.` and `..`; None if it leaves the tree."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and not parts:
            return None
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
