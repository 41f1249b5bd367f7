"""`orchestrate adopt`: llama.cpp's variants in the user's own flake, as a diff first."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inventory.read import read_inventory
from orchestrator.adopt.adoption import adopt
from orchestrator.adopt.draft import Draft
from orchestrator.adopt.repository import require_clean, tracked_files, write
from orchestrator.adopt.show import diff_lines
from orchestrator.cli import options
from orchestrator.errors import UsageError
from orchestrator.model.variant import Variant
from orchestrator.transport.shell import LocalShell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.adopt.draft import Change
    from orchestrator.cli.invocation import Invocation
    from orchestrator.transport.shell import Shell

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@options.command(
    "adopt",
    click.Argument(["path"], type=click.Path(path_type=Path, exists=True, file_okay=False)),
    click.Option(
        ["--write", "writing"], is_flag=True, help="Make the changes, in a clean git tree."
    ),
    click.Option(
        ["--variant", "variants"],
        multiple=True,
        metavar="MACHINE=VARIANT",
        help="Such as carbon=vulkan.",
    ),
    click.Option(
        ["--home-manager"],
        metavar="FILE",
        help="A Home Manager module, relative to PATH, that is to have llama.cpp too.",
    ),
)
def command(
    invocation: Invocation,
    path: Path,
    variants: tuple[str, ...],
    home_manager: str | None,
    *,
    writing: bool,
) -> int:
    """Put llama.cpp's variants into the NixOS flake at PATH itself.

    That is the flake input, an overlay, the overlay in every machine, and each
    machine's package; overlays and packages of before go. Without --write the
    changes are shown and nothing is touched.

    A machine gets the variant of --variant, otherwise the inventory's pin, otherwise what
    its configuration lists already, otherwise llama-cpp, which chooses the CPU's
    code at run time.
    """
    wanted = dict(_variant(text) for text in variants)
    shell = LocalShell()
    draft = Draft(path, asyncio.run(tracked_files(shell, path)))
    adopt(draft, wanted, _pins(invocation.inventory_path), home_manager)
    asyncio.run(_finish(shell, draft, writing=writing))
    return 0


async def _finish(shell: Shell, draft: Draft, *, writing: bool) -> None:
    changes, path = draft.changes(), draft.root
    if changes and writing:
        await require_clean(shell, path)
        new = await write(shell, path, changes)
        _tell_written(changes, new)
    else:
        _show(changes)
    for note in draft.notes:
        click.echo(f"note: {note}", err=True)


def _show(changes: Sequence[Change]) -> None:
    if not changes:
        click.echo("nothing to change: the flake is adopted already")
        return
    for change in changes:
        for line in diff_lines(change):
            click.echo(click.style(line, fg=_COLOURS.get(line[:1])))
    click.echo("nothing is written yet; to make these changes: --write", err=True)


def _tell_written(changes: Sequence[Change], new: Sequence[str]) -> None:
    for change in changes:
        done = (
            "removed" if change.after is None else "added" if change.before is None else "changed"
        )
        click.echo(f"{done} {change.path}")
    for path in new:
        click.echo(f"git add --intent-to-add {path}    # done: a flake sees no other files")
    click.echo("Next: nix flake check, then commit; or git restore, if it isn't what you want")


def _variant(text: str) -> tuple[str, str]:
    machine, _, name = text.partition("=")
    return machine, _attribute(name, f"--variant {text}")


def _pins(inventory: Path) -> dict[str, str]:
    """Return the variants that an inventory pins, by the machines' names in the flake."""
    if not inventory.exists():
        return {}
    return {
        host.nixos_name: _attribute(host.variant_pin, f"{inventory}: the pin of {host.name}")
        for host in read_inventory(inventory).targets
        if host.variant_pin is not None
    }


def _attribute(variant: str, place: str) -> str:
    if variant not in {known.value for known in Variant}:
        message = f"{place} names no variant: {variant or 'empty'}"
        raise UsageError(message, hint=f"one of {', '.join(Variant)}")
    return Variant(variant).attribute
