"""The types refuse what a command line would misread, and travel as JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inventory
from inventory.host import Become, Connection, Host, Inventory, JumpHost
from inventory.read import read_inventory
from orchestrator.errors import InventoryError

EXAMPLE = Path(inventory.__file__).with_name("example.yml")

_METACHARACTERS = " \t\n\r\0\x1b\x7f'\"\\$`;&|<>(){}*?~#!\u2028\u202e"
_HOSTILE = st.one_of(
    st.text(min_size=1).map(lambda text: f"-{text}"),
    st.tuples(
        st.text("abc0", max_size=3),
        st.sampled_from(_METACHARACTERS),
        st.text("abc0", max_size=3),
    ).map("".join),
    st.sampled_from(
        ["", "-oProxyCommand=touch x", "a b", "$(id)", "`id`", "a;id", "a\nb", "x@-oA=b", "%h"]
    ),
)


@given(_HOSTILE)
def test_hostile_text_never_becomes_a_part_of_a_connection(text: str) -> None:
    """Option injection, control characters and shell syntax are refused everywhere."""
    for make in (
        lambda: Connection(address=text),
        lambda: Connection(address="carbon", user=text),
        lambda: JumpHost(address=text),
        lambda: JumpHost(address="carbon", user=text),
        lambda: Become(user=text),
        lambda: Host(name=text, connection=Connection("carbon"), nixos_name="carbon"),
        lambda: Host(name="carbon", connection=Connection("carbon"), nixos_name=text),
    ):
        with pytest.raises(InventoryError):
            make()


@given(st.text(min_size=1))
def test_an_accepted_address_is_one_harmless_word(text: str) -> None:
    """Whatever passes is ASCII, printable, without space, and no option."""
    try:
        address = Connection(address=text).address
    except InventoryError:
        return
    assert address.isascii()
    assert address.isprintable()
    assert not address.startswith("-")
    assert not set(address) & set(_METACHARACTERS)


@pytest.mark.parametrize(
    "address",
    ["carbon", "carbon.lan", "my-host_1.example.org", "192.0.2.7", "::1", "fe80::1%enp1s0"],
)
def test_ordinary_addresses_are_accepted(address: str) -> None:
    """Dots, dashes, underscores and IPv6, with its zone, stay usable."""
    assert Connection(address=address).address == address


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    """A port that TCP doesn't have never reaches ssh."""
    with pytest.raises(InventoryError, match="port"):
        Connection(address="carbon", port=port)


@pytest.mark.parametrize("path", ["-F/etc/x", "a\nb", "", "a\0b"])
def test_a_file_name_that_is_an_option_is_refused(path: str) -> None:
    """Key and known_hosts files can't smuggle an option or a second line."""
    with pytest.raises(InventoryError):
        Connection(address="carbon", identity_file=path)
    with pytest.raises(InventoryError):
        Connection(address="carbon", known_hosts_file=path)


@pytest.mark.parametrize("key", ["AAAA", "ssh-ed25519 AAAA\n* ssh-rsa B", "carbon ssh-rsa AAAA="])
def test_a_pinned_key_is_one_public_key_line(key: str) -> None:
    """A host key can't bring a second known_hosts line along."""
    with pytest.raises(InventoryError, match="host key"):
        Connection(address="carbon", host_key=key)


def test_the_example_travels_as_json() -> None:
    """An inventory that goes to a worker comes back equal."""
    fleet = read_inventory(EXAMPLE)
    assert msgspec.json.decode(msgspec.json.encode(fleet), type=Inventory) == fleet


def test_the_example_is_four_machines_and_two_builders() -> None:
    """The file that `orchestrate init` starts from reads without an error."""
    fleet = read_inventory(EXAMPLE)
    assert [host.name for host in fleet.targets] == ["carbon", "beryllium", "boron", "nitrogen"]
    assert [host.name for host in fleet.builders] == ["ada", "grace"]
    assert fleet.host("boron").variant_pin == "cpu"
    assert fleet.fleet.rollout.serial == (1, "34%")
    assert fleet.fleet.flake == str(EXAMPLE.parent)


def test_an_unknown_host_is_an_error_with_a_suggestion() -> None:
    """Asking for a misspelt host names the right one."""
    with pytest.raises(InventoryError) as caught:
        read_inventory(EXAMPLE).host("nitrogn")
    assert "nitrogen" in caught.value.hint
