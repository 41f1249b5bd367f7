"""Where a command takes its inventory, its targets and its broker from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from orchestrator.cli.consent import ask_for_reboots
from orchestrator.cli.deploy import command as deploy
from orchestrator.cli.init import inventory_text
from orchestrator.cli.invocation import Invocation
from orchestrator.errors import UsageError
from orchestrator.model.plan import Goal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Return an inventory as `orchestrate init` writes it."""
    path = tmp_path / "inventory.yml"
    path.write_text(inventory_text(("carbon=192.0.2.1", "boron"), ("forge",), ".", "root"))
    return path


def test_what_init_writes_can_be_read(inventory: Path) -> None:
    """The targets are the named hosts, the builder is none of them."""
    invocation = Invocation(inventory)
    assert [host.name for host in invocation.hosts] == ["carbon", "boron"]
    assert [host.name for host in invocation.inventory.builders] == ["forge"]
    assert invocation.inventory.host("carbon").connection.address == "192.0.2.1"


def test_without_a_builder_the_first_host_builds(tmp_path: Path) -> None:
    """A fleet of one machine is complete: it builds for itself and is a target."""
    path = tmp_path / "inventory.yml"
    path.write_text(inventory_text(("carbon",), (), ".", "root"))
    invocation = Invocation(path)
    assert [host.name for host in invocation.inventory.builders] == ["carbon"]
    assert [host.name for host in invocation.hosts] == ["carbon"]


def test_no_inventory_says_how_to_make_one(tmp_path: Path) -> None:
    """A newcomer's first command leads to `init`."""
    with pytest.raises(UsageError, match="orchestrate init"):
        _ = Invocation(tmp_path / "inventory.yml").inventory


def test_without_a_configuration_the_broker_is_private(inventory: Path) -> None:
    """Nothing has to be configured."""
    assert Invocation(inventory).broker is None


def test_the_configuration_names_the_broker(inventory: Path) -> None:
    """`orchestrate.toml` beside the inventory is read; the option wins over it."""
    (inventory.parent / "orchestrate.toml").write_text('broker = "rediss://broker.lan:6380/0"\n')
    assert Invocation(inventory).broker == "rediss://broker.lan:6380/0"
    assert Invocation(inventory, broker_option="redis://other").broker == "redis://other"


def test_the_configuration_says_how_long_runs_are_kept(inventory: Path) -> None:
    """Ninety days, or as many as are named."""
    assert Invocation(inventory).configuration.keep_days == 90
    (inventory.parent / "orchestrate.toml").write_text("keep_days = 7\n")
    assert Invocation(inventory).configuration.keep_days == 7


@pytest.mark.parametrize("text", ["brokr = 1\n", "broker = 5\n", "broker = [\n", "keep_days = 0\n"])
def test_a_wrong_configuration_is_one_clear_error(inventory: Path, text: str) -> None:
    """A misspelt key, a wrong type or no TOML at all names the file."""
    (inventory.parent / "orchestrate.toml").write_text(text)
    with pytest.raises(UsageError, match=r"orchestrate\.toml"):
        _ = Invocation(inventory).broker


def test_the_serial_of_the_command_line_wins(inventory: Path) -> None:
    """Batch sizes given for one run stand in for the inventory's, and nothing else changes."""
    plain = Invocation(inventory).inventory
    given = Invocation(inventory, serial=(1, "25%")).inventory
    assert given.fleet.rollout.serial == (1, "25%")
    assert replace(given.fleet, rollout=plain.fleet.rollout) == plain.fleet


def test_a_limit_leaves_some_of_the_target(inventory: Path) -> None:
    """Of TARGET's hosts those remain that the limit means too."""
    assert [host.name for host in Invocation(inventory, limit="b*").hosts] == ["boron"]


@pytest.mark.parametrize("goal", [Goal.BOOT, Goal.TEST, Goal.DRY_ACTIVATE])
def test_only_what_was_proven_reboots(inventory: Path, goal: Goal) -> None:
    """Asking for reboots with another goal is refused; an inventory that allows them is not."""
    with pytest.raises(UsageError, match=f"goal {goal} reboots no host"):
        ask_for_reboots(Invocation(inventory, goal=goal, reboot=True))
    assert ask_for_reboots(Invocation(inventory, goal=goal)) == ()


@pytest.mark.parametrize("serial", ["", "0", "1,x", "1,,2", "120%"])
def test_a_wrong_serial_is_a_usage_error(inventory: Path, serial: str) -> None:
    """What is no list of sizes is refused before anything is looked at, with an example."""
    done = CliRunner().invoke(deploy, ["--serial", serial, "--inventory", str(inventory)])
    assert done.exit_code == 2
    assert "1,25%,100%" in done.output
