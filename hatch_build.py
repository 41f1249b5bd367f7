"""Put what is installed under one name.

The checkout has three packages side by side, `orchestrator`, `tasks` and `inventory`.
Installed like that, a user's own `tasks.py` or `inventory/` could be taken for ours, and
another distribution could bring packages of the same names. So the wheel has `tasks` and
`inventory` inside `orchestrator`, and its files import them from there. Lines stay where
they are here.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if TYPE_CHECKING:
    from collections.abc import Iterator

MOVED = ("tasks", "inventory")

_SCRIPT = "ansible-compat/orchestrate_inventory.py"
_IMPORT = re.compile(rf"^(\s*)from ({'|'.join(MOVED)})\b(?=[. ])", re.MULTILINE)
_WHOLE = re.compile(rf"^\s*import ({'|'.join(MOVED)})\b", re.MULTILINE)


def under_one_name(text: str) -> str:
    """Return a file's text with its imports of the moved packages from `orchestrator`.

    Raises:
        ValueError: it imports one of them as a whole, which has no such form.
    """
    if found := _WHOLE.search(text):
        message = f"write `from ... import` instead of `{found[0].strip()}`: the wheel moves it"
        raise ValueError(message)
    return _IMPORT.sub(r"\1from orchestrator.\2", text)


class OneName(BuildHookInterface[Any]):
    """Hatchling's hook: lays out a wheel's files; an editable install uses the checkout."""

    PLUGIN_NAME = "custom"

    @property
    def _laid_out(self) -> Path:
        return Path(self.directory) / "one-name"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the wheel's package to where the build takes it from."""
        if version == "editable":
            return
        shutil.rmtree(self._laid_out, ignore_errors=True)
        for file, place in self._files():
            target = self._laid_out / place
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".py":
                target.write_text(under_one_name(file.read_text("utf-8")), "utf-8")
            else:
                shutil.copyfile(file, target)
        build_data["force_include"][str(self._laid_out)] = "orchestrator"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was laid out."""
        del version, build_data, artifact_path
        shutil.rmtree(self._laid_out, ignore_errors=True)

    def _files(self) -> Iterator[tuple[Path, Path]]:
        """Give every file with its place inside the one package."""
        root = Path(self.root)
        for package in ("orchestrator", *MOVED):
            for file in sorted((root / package).rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    inside = root if package in MOVED else root / package
                    yield file, file.relative_to(inside)
        yield root / _SCRIPT, Path(_SCRIPT)
