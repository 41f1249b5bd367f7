"""`orchestrate trust`: host keys are recorded once, and never replaced."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fleet.fleet import Fleet

pytestmark = pytest.mark.lab


@pytest.fixture
def stranger(fleet: Fleet, tmp_path: Path) -> Fleet:
    """Return the fleet by an inventory whose known_hosts file isn't there yet."""
    path = tmp_path / "inventory.yml"
    text = fleet.inventory.read_text()
    path.write_text(text.replace(str(fleet.lab.known_hosts), str(tmp_path / "known_hosts")))
    return replace(fleet, inventory=path, directory=tmp_path)


def test_an_unknown_host_is_reached_once_its_key_is_recorded(stranger: Fleet) -> None:
    """Without a recorded key no host is reached; trust records all, jump hosts first."""
    before = stranger.orchestrate("facts", "fleet", check=False)
    assert before.returncode == 3
    assert "orchestrate trust" in before.stderr
    trusted = stranger.orchestrate("trust", "--yes")
    known = stranger.directory / "known_hosts"
    assert trusted.stdout.count(": recorded") == len(known.read_text().splitlines()) == 6
    assert stranger.orchestrate("facts", "fleet").returncode == 0
    again = stranger.orchestrate("trust", "--yes")
    assert again.stdout.count(": known") == 6


def test_another_key_is_never_recorded(stranger: Fleet) -> None:
    """A host that shows another key than the recorded one stays untrusted."""
    known = stranger.directory / "known_hosts"
    recorded = f"{stranger['carbon'].address} {stranger['anvil'].public_host_key}\n"
    known.write_text(recorded)
    done = stranger.orchestrate("trust", "carbon", "--yes", check=False)
    assert done.returncode == 3
    assert "ANOTHER KEY" in done.stderr
    assert known.read_text() == recorded


def test_nothing_is_recorded_unasked(stranger: Fleet) -> None:
    """Without --yes each key has to be confirmed."""
    argv = stranger.argv("trust", "carbon")
    done = stranger.controller.run(argv, env=stranger.env, stdin="n\n", check=False)
    assert done.returncode == 3
    assert "SHA256:" in done.stdout
    assert not (stranger.directory / "known_hosts").exists()
