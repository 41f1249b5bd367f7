"""What the inventory says of a rollout, and what is refused with which words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inventory.pattern import limited
from inventory.read import read_inventory
from inventory.rollout import Rollout, Size, count_of, sizes_of
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from pathlib import Path

    from inventory.host import Inventory

FLEET = """
all:
  vars: {{{everywhere}}}
  children:
    laptops: {{hosts: {{carbon: {{{carbon}}}, beryllium: }}}}
    servers: {{hosts: {{boron: , nitrogen: }}, vars: {{{servers}}}}}
"""


def read(directory: Path, everywhere: str = "", servers: str = "", carbon: str = "") -> Inventory:
    """Read a fleet of four with these variables."""
    path = directory / "inventory.yml"
    path.write_text(FLEET.format(everywhere=everywhere, servers=servers, carbon=carbon))
    return read_inventory(path)


def test_nothing_said_means_canaries_and_no_limit(tmp_path: Path) -> None:
    """By default a canary of each package goes ahead, then all the rest, without a limit."""
    assert read(tmp_path).fleet.rollout == Rollout(serial=("100%",), canary=True)


def test_every_setting_is_read(tmp_path: Path) -> None:
    """Numbers and percentages, also as text; a budget of zero is one."""
    everywhere = (
        "orchestrate_serial: [1, 25%, 100%], orchestrate_canary: false, "
        "orchestrate_batch_pause: 30, orchestrate_max_failures: 0, "
        "orchestrate_max_failures_per_variant: '1', orchestrate_max_unreachable: 10%, "
        "orchestrate_max_unavailable: 50%, orchestrate_order: [servers, laptops]"
    )
    found = read(tmp_path, everywhere, "orchestrate_max_unavailable: 1").fleet.rollout
    assert found == Rollout(
        serial=(1, "25%", "100%"),
        canary=False,
        batch_pause=30.0,
        max_unavailable={"all": "50%", "servers": 1},
        max_failures=0,
        max_failures_per_variant=1,
        max_unreachable="10%",
        order=("servers", "laptops"),
    )


@pytest.mark.parametrize(
    ("everywhere", "words"),
    [
        ("orchestrate_max_failures: -1", "orchestrate_max_failures"),
        ("orchestrate_max_failures: 101%", "orchestrate_max_failures"),
        ("orchestrate_max_failures: true", "orchestrate_max_failures"),
        ("orchestrate_max_unavailable: 0", "group all: orchestrate_max_unavailable"),
        ("orchestrate_batch_pause: soon", "above zero"),
        ("orchestrate_canary: maybe", "true or false"),
        ("orchestrate_order: [laptop]", "did you mean laptops"),
        ("orchestrate_max_failure: 1", "did you mean orchestrate_max_failures"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(tmp_path: Path, everywhere: str, words: str) -> None:
    """The variable and what it can be are named, before anything is touched."""
    with pytest.raises(InventoryError) as caught:
        read(tmp_path, everywhere)
    assert words in str(caught.value)


def test_what_holds_for_the_fleet_is_refused_lower(tmp_path: Path) -> None:
    """A group can't have a serial of its own, and one host no limit of unavailable ones."""
    with pytest.raises(InventoryError, match="whole fleet"):
        read(tmp_path, servers="orchestrate_max_failures: 1")
    with pytest.raises(InventoryError, match="set for one host"):
        read(tmp_path, carbon="orchestrate_max_unavailable: 1")


def test_ansible_tells_which_group_set_a_limit(tmp_path: Path) -> None:
    """An INI file, read by Ansible, gives a group's limit to that group alone."""
    path = tmp_path / "hosts.ini"
    path.write_text(
        "[servers]\nboron\n[laptops]\ncarbon\n[servers:vars]\norchestrate_max_unavailable=1\n"
    )
    assert read_inventory(path).fleet.rollout.max_unavailable == {"servers": 1}


@pytest.mark.parametrize(
    ("size", "whole", "least", "count"),
    [(3, 10, 0, 3), ("25%", 10, 0, 2), ("9%", 10, 0, 0), ("9%", 10, 1, 1), ("0%", 5, 0, 0)],
)
def test_percentages_are_rounded_down(size: Size, whole: int, least: int, count: int) -> None:
    """As Ansible rounds them; never under the least that makes sense."""
    assert count_of(size, whole, least) == count


@pytest.mark.parametrize("items", [[], ["0"], ["0%"], ["x"], ["1", ""], ["1.5"], [True]])
def test_no_sizes_are_none(items: list[object]) -> None:
    """A list with one wrong entry is wrong."""
    assert sizes_of(items) is None


@pytest.mark.parametrize(
    ("pattern", "limit", "names"),
    [
        ("fleet", None, ["carbon", "beryllium", "boron", "nitrogen"]),
        ("fleet", "servers", ["boron", "nitrogen"]),
        ("fleet", "!servers", ["carbon", "beryllium"]),
        ("servers", "nitrogen,carbon", ["nitrogen"]),
        ("fleet", "laptops:&~b.*", ["beryllium"]),
    ],
)
def test_a_limit_leaves_what_both_mean(
    tmp_path: Path, pattern: str, limit: str | None, names: list[str]
) -> None:
    """`--limit` is an Ansible pattern, and keeps the order of the inventory."""
    assert [host.name for host in limited(read(tmp_path), pattern, limit)] == names


@pytest.mark.parametrize(
    ("limit", "words"), [("laptops", "leaves no host"), ("nitrogn", "did you mean nitrogen")]
)
def test_a_limit_that_leaves_nothing_is_an_error(tmp_path: Path, limit: str, words: str) -> None:
    """Nothing in common, or a misspelt name, deploys to no host and says why."""
    with pytest.raises(InventoryError) as caught:
        limited(read(tmp_path), "servers", limit)
    assert words in str(caught.value)
