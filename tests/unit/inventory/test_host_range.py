"""Host ranges and ports, held against Ansible's own expansion."""

from __future__ import annotations

import pytest
from ansible.plugins.inventory import (  # type: ignore[import-untyped]
    expand_hostname_range,
)
from hypothesis import given
from hypothesis import strategies as st

from inventory.host_range import expand, split_port
from orchestrator.errors import InventoryError

_PLAIN = st.text("abcXYZ019-_.", max_size=5)


@st.composite
def _numeric_range(draw: st.DrawFn) -> str:
    begin = draw(st.integers(0, 60))
    end = draw(st.integers(begin, begin + 12))
    width = draw(st.sampled_from([0, 3]))
    step = draw(st.sampled_from(["", ":1", ":2", ":5"]))
    return f"[{str(begin).zfill(width)}:{str(end).zfill(width)}{step}]"


@st.composite
def _letter_range(draw: st.DrawFn) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    begin = draw(st.integers(0, 51))
    end = draw(st.integers(begin, min(51, begin + 9)))
    step = draw(st.sampled_from(["", ":3"]))
    return f"[{letters[begin]}:{letters[end]}{step}]"


@given(_PLAIN, _numeric_range() | _letter_range(), _PLAIN, _numeric_range() | st.just(""))
def test_ranges_expand_as_in_ansible(head: str, first: str, middle: str, second: str) -> None:
    """Every well-formed range gives the names that Ansible gives, in its order."""
    pattern = f"{head}{first}{middle}{second}"
    assert list(expand(pattern)) == expand_hostname_range(pattern)


@given(st.text("node[]:019a-.", max_size=14))
def test_any_text_expands_or_is_refused(pattern: str) -> None:
    """No text gives a name with a bracket, an endless list or another exception."""
    try:
        names = expand(pattern)
    except InventoryError:
        return
    assert names
    assert not any("[" in name or "]" in name for name in names)


@pytest.mark.parametrize(
    "pattern",
    [
        "node[5:1]",
        "node[01:100]",
        "node[1:]",
        "node[1]",
        "node[c:a]",
        "node[a:3]",
        "node[1:9:0]",
        "node[1:9",
        "node1:9]",
        "node[0:99999999999]",
        "node[0:999]-[0:999]",
        "node[ab:cd]",
        "node[\u0661:\u0663]",
    ],
)
def test_a_malformed_range_is_an_error(pattern: str) -> None:
    """What can't be a range is refused, where Ansible gives no or strange hosts."""
    with pytest.raises(InventoryError) as caught:
        expand(pattern)
    assert repr(pattern) in caught.value.message


@pytest.mark.parametrize(
    ("written", "name", "port"),
    [
        ("carbon", "carbon", None),
        ("carbon:2222", "carbon", 2222),
        ("node[1:3]", "node[1:3]", None),
        ("node[1:3]:2222", "node[1:3]", 2222),
        ("fe80::1", "fe80::1", None),
        ("[fe80::1]:2222", "fe80::1", 2222),
        ("192.0.2.7:22", "192.0.2.7", 22),
    ],
)
def test_the_port_is_told_from_ranges_and_ipv6(written: str, name: str, port: int | None) -> None:
    """A colon is a port only where it can be nothing else."""
    assert split_port(written) == (name, port)
