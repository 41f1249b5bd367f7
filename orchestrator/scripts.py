"""The stages' own shell scripts, which lie in their rooms and run on the hosts."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from orchestrator.command import script

if TYPE_CHECKING:
    from orchestrator.command import Command


def text_of(name: str) -> str:
    """Give the text of a script by its place in `stages/`, such as `facts/facts.sh`."""
    return files("orchestrator.stages").joinpath(*name.split("/")).read_text(encoding="utf-8")


def shipped(name: str, *arguments: str, timeout: float | None = None) -> Command:
    """Give the command that runs a script with arguments; `timeout` in seconds."""
    return script(text_of(name), *arguments, timeout=timeout)
