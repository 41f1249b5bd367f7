"""The whole of it, in strategy's order: from a tree of files to what changes in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.adopt.flake_input import add_input
from orchestrator.adopt.install import Installer
from orchestrator.adopt.names import ATTRIBUTES
from orchestrator.adopt.old_overlay import note_lost_names, remove_old_overlays
from orchestrator.adopt.overlays import use_overlay, write_overlay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.adopt.draft import Draft


def adopt(
    draft: Draft,
    wanted: Mapping[str, str],
    pins: Mapping[str, str],
    home_manager: str | None = None,
) -> None:
    """Make every change in the draft. On an adopted tree that is none.

    Args:
        draft: the user's files.
        wanted: the overlay's attribute, for machines that one was asked for.
        pins: the same from an inventory, which may have machines of other flakes.
        home_manager: a file that is to have llama.cpp in its home.packages.

    Raises:
        UsageError: a file can't be read as Nix, or is built in a way that isn't known.
    """
    defined = remove_old_overlays(draft)
    add_input(draft)
    write_overlay(draft)
    use_overlay(draft)
    Installer(draft, wanted, pins, ATTRIBUTES | defined, home_manager).run()
    note_lost_names(draft, defined)
