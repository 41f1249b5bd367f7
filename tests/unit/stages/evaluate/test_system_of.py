"""Which system a derivation is for, as its file says it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import CommandError
from orchestrator.model.store import DerivationPath
from orchestrator.stages.evaluate.check import system_of
from orchestrator.transport.shell import LocalShell

if TYPE_CHECKING:
    from pathlib import Path

STORE = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz"
DERIVATIONS = {
    # As Nix 2.34 writes them; the second is a system of nixpkgs 2026-07, shortened.
    "plain": f'Derive([("out","{STORE}-a","","")],[("{STORE}-b.drv",["out"])],["{STORE}-c.sh"],'
    f'"x86_64-linux","{STORE}-bash/bin/bash",["-e","{STORE}-c.sh"],[("system","x86_64-linux")])',
    "structured": f'Derive([("out","{STORE}-nixos-system-carbon","","")],[],[],"aarch64-linux",'
    f'"{STORE}-bash/bin/bash",["-e"],[("__json","{{\\"system\\":\\"other\\",\\"args\\":[],\\"x\\":1}}")])',
}


@pytest.mark.parametrize(
    ("name", "system"), [("plain", "x86_64-linux"), ("structured", "aarch64-linux")]
)
def test_the_system_of_a_derivation(tmp_path: Path, name: str, system: str) -> None:
    """It is read from the file, for Nix's own query knows no structured attributes."""
    file = tmp_path / "made.drv"
    file.write_text(DERIVATIONS[name])
    assert asyncio.run(system_of(LocalShell(), DerivationPath(str(file)))) == system


def test_a_derivation_that_is_no_derivation(tmp_path: Path) -> None:
    """One that can't be read is an error that names it, and nothing else is guessed."""
    file = tmp_path / "made.drv"
    file.write_text("something else")
    with pytest.raises(CommandError, match="can't be read"):
        asyncio.run(system_of(LocalShell(), DerivationPath(str(file))))
