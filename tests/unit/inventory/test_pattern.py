"""Which hosts a pattern selects, where orchestrate and Ansible differ on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.host import Builder, Connection, Host, Inventory
from inventory.pattern import select
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from collections.abc import Iterable


def _host(name: str, *, deploy: bool = True, builder: bool = False) -> Host:
    return Host(
        name=name,
        connection=Connection(name),
        nixos_name=name,
        deploy=deploy,
        builder=Builder(("x86_64-linux",)) if builder else None,
    )


def _names(hosts: Iterable[Host]) -> list[str]:
    return [host.name for host in hosts]


_FLEET = Inventory(
    path="inventory.yml",
    hosts=(
        _host("carbon"),
        _host("node-1.lan"),
        _host("fe80::1"),
        _host("nitrogen"),
        _host("ada", deploy=False, builder=True),
        _host("attic", deploy=False),
    ),
    groups={
        "all": ("carbon", "node-1.lan", "fe80::1", "nitrogen", "ada", "attic"),
        "ungrouped": (),
        "gpu": ("nitrogen", "carbon", "ada"),
        "builders": ("ada",),
        "empty": (),
    },
)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("fleet", ["carbon", "node-1.lan", "fe80::1", "nitrogen"]),
        ("all", ["carbon", "node-1.lan", "fe80::1", "nitrogen"]),
        ("fleet:!nitrogen", ["carbon", "node-1.lan", "fe80::1"]),
        ("gpu", ["carbon", "nitrogen"]),
        ("gpu[0]", ["nitrogen"]),
        ("gpu[:1]", ["carbon", "nitrogen"]),
        ("fe80::1", ["fe80::1"]),
        ("!fe80::1", ["carbon", "node-1.lan", "nitrogen"]),
        ("fe80::1,carbon", ["carbon", "fe80::1"]),
        ("node-1.lan", ["node-1.lan"]),
        ("all,!ada", ["carbon", "node-1.lan", "fe80::1", "nitrogen"]),
        ("gpu:empty", ["carbon", "nitrogen"]),
    ],
)
def test_a_pattern_selects_in_the_order_of_the_inventory(pattern: str, names: list[str]) -> None:
    """Hosts come as in the inventory, those that aren't targets left out."""
    assert _names(select(_FLEET, pattern)) == names


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("gpu:!nitrogn", "did you mean nitrogen?"),
        ("gpu:&bulders", "did you mean builders?"),
        ("flet", "did you mean fleet?"),
        ("ada", "it is a builder"),
        ("carbon,attic", "orchestrate_deploy is false"),
        ("builders", "orchestrate_deploy is false for ada"),
        ("empty", "selects no host"),
        ("gpu:&node-1.lan", "none in common"),
        ("gpu[9]", "matches no host"),
        ("gpu[0", "brackets"),
        ("~(", "not a regular expression"),
        ("", "empty"),
        ("!", "sign without a name"),
        (" , ", "empty"),
    ],
)
def test_a_pattern_that_misses_is_an_error(pattern: str, words: str) -> None:
    """A slip never deploys to other machines than were meant."""
    with pytest.raises(InventoryError) as caught:
        select(_FLEET, pattern)
    assert words in str(caught.value)


def test_a_group_named_fleet_is_that_group() -> None:
    """A group of that name means what it says."""
    own = Inventory("i.yml", _FLEET.hosts, _FLEET.groups | {"fleet": ("carbon",)})
    assert _names(select(own, "fleet")) == ["carbon"]


@given(st.text("carbon gpu!&~*?[]0:1,-.()", max_size=16))
def test_any_text_selects_targets_or_is_refused(pattern: str) -> None:
    """No text selects a host that isn't a target, or ends in another exception."""
    try:
        chosen = select(_FLEET, pattern)
    except InventoryError:
        return
    assert chosen
    assert set(_names(chosen)) <= set(_names(_FLEET.targets))
