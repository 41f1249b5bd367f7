"""`orchestrate init`: what it writes for someone who has no flake yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from inventory.read import read_inventory
from orchestrator.cli.init import command
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAItried me@laptop"


def init(directory: Path, *arguments: str) -> Any:  # noqa: ANN401 - click's own
    """Run it for two machines and a builder, the inventory in `directory`."""
    hosts = ("carbon=192.0.2.10", "nitrogen=192.0.2.11", "--builder", "forge=192.0.2.12")
    inventory = ("--inventory", str(directory / "inventory.yml"))
    return command.main([*hosts, *arguments, *inventory], standalone_mode=False)


def test_standalone_writes_a_machine_for_each_target(tmp_path: Path) -> None:
    """The flake has the targets and no builder, and the inventory names it."""
    key = tmp_path / "id_ed25519.pub"
    key.write_text(KEY)
    home = tmp_path / "fleet"
    home.mkdir()
    assert init(home, "--standalone", "--ssh-key", str(key)) == 0
    for folder in ("machines", "hardware"):
        assert {file.name for file in (home / folder).iterdir()} == {"carbon.nix", "nitrogen.nix"}
    assert "../hardware/carbon.nix" in (home / "machines" / "carbon.nix").read_text()
    # Neither answers: no disk is guessed.
    assert 'throw "hardware/carbon.nix: ' in (home / "hardware" / "carbon.nix").read_text()
    assert KEY in (home / "authorized_keys").read_text().splitlines()
    assert (home / "flake.nix").is_file()
    assert read_inventory(home / "inventory.yml").fleet.flake == str(home)


def test_a_flake_that_is_there_stays(tmp_path: Path) -> None:
    """Nothing at all is written where a flake is already."""
    (tmp_path / "flake.nix").write_text("{ }")
    with pytest.raises(UsageError, match=r"flake\.nix exists already"):
        init(tmp_path, "--standalone")
    assert [file.name for file in tmp_path.iterdir()] == ["flake.nix"]
    assert (tmp_path / "flake.nix").read_text() == "{ }"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--user", "me"), "only root can log in"), (("--flake", "github:me/mine"), "names another")],
)
def test_options_that_contradict_it(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Another user or another flake can't be had with a flake that is written now."""
    with pytest.raises(UsageError, match=message):
        init(tmp_path, "--standalone", *arguments)
    assert not list(tmp_path.iterdir())


def test_a_private_key_is_refused(tmp_path: Path) -> None:
    """A private key never gets into a flake."""
    key = tmp_path / "id_ed25519"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n")
    with pytest.raises(UsageError, match="holds no public key"):
        init(tmp_path, "--standalone", "--ssh-key", str(key))
    assert not (tmp_path / "authorized_keys").exists()
