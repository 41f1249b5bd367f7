"""What Nix prints is read exactly, and everything else is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import nix
from orchestrator.errors import PayloadError
from orchestrator.model.store import (
    parse_derivation_path,
    parse_store_path,
    store_hash,
    store_name,
)

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
ALPHABET = HASH
OUT = f"/nix/store/{HASH}-nixos-system-carbon-25.05"
DRV = f"/nix/store/{HASH}-nixos-system-carbon-25.05.drv"

hashes = st.text(st.sampled_from(ALPHABET), min_size=32, max_size=32)
names = st.from_regex(r"[0-9a-zA-Z+\-._?=]{1,211}", fullmatch=True)


@given(hashes, names)
def test_every_store_path_is_read(digest: str, name: str) -> None:
    """A path of Nix's form is taken as it is, and splits into hash and name."""
    path = parse_store_path(f"/nix/store/{digest}-{name}")
    assert (store_hash(path), store_name(path)) == (digest, name)


@given(st.text(max_size=80))
def test_other_texts_are_no_store_paths(text: str) -> None:
    """Nothing but a store path is one."""
    with pytest.raises(PayloadError):
        parse_store_path(text)


@pytest.mark.parametrize(
    "text",
    [
        f"{OUT}\n",
        f"{OUT}/bin",
        f"{OUT} ",
        f"/nix/store/{HASH}",
        f"/nix/store/{HASH}-",
        f"/nix/store/{HASH[:-1]}e-x",
        f"/nix/store/{HASH}-a b",
        f"/nix/store/{HASH}-$(id)",
        f"/nix/store/{HASH}-{'x' * 212}",
        f"/nix/store/../{HASH}-x",
        f"nix/store/{HASH}-x",
        "",
    ],
)
def test_near_misses_are_refused(text: str) -> None:
    """A newline, a file inside, a wrong alphabet or a shell's character is no store path."""
    with pytest.raises(PayloadError, match="expected a store path"):
        parse_store_path(text)


def test_a_derivation_ends_in_drv() -> None:
    """An output's path is no derivation."""
    assert parse_derivation_path(DRV) == DRV
    with pytest.raises(PayloadError, match="derivation"):
        parse_derivation_path(OUT)


def test_the_dry_build_is_read_in_order() -> None:
    """Each attribute has its derivation and output, also with fields of newer versions."""
    rows = [
        {"drvPath": DRV, "outputs": {"out": OUT}},
        {"drvPath": DRV, "outputs": {"dev": OUT, "out": OUT}, "startTime": 0},
    ]
    assert nix.parse_instantiated(json.dumps(rows)) == ((DRV, OUT), (DRV, OUT))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "warning: x",
        "null",
        "{}{}",
        "[1]",
        "[{}]",
        '["x"]',
        json.dumps([{"drvPath": DRV}]),
        json.dumps([{"drvPath": DRV, "outputs": {"dev": OUT}}]),
        json.dumps([{"drvPath": DRV, "outputs": {"out": None}}]),
        json.dumps([{"drvPath": None, "outputs": {"out": OUT}}]),
        json.dumps([{"drvPath": OUT, "outputs": {"out": OUT}}]),
        json.dumps([{"drvPath": DRV, "outputs": {"out": f"{OUT}; id"}}]),
        "[" * 100_000,
    ],
)
def test_another_dry_build_is_refused(text: str) -> None:
    """What isn't an answer for each attribute is one clear error."""
    with pytest.raises(PayloadError):
        nix.parse_instantiated(text)


def test_store_paths_come_one_a_line() -> None:
    """An empty answer is no path; a line that is no path is refused."""
    assert nix.parse_store_paths("") == ()
    assert nix.parse_store_paths(f"{OUT}\n{DRV}\n") == (OUT, DRV)
    with pytest.raises(PayloadError):
        nix.parse_store_paths(f"{OUT}\nerror: busy\n")


def test_long_lists_travel_on_stdin() -> None:
    """Thousands of paths are no argument, and each is a line."""
    paths = (OUT,) * nix.EXPORT_PATHS
    for command in (nix.invalid_among(paths), nix.export(paths)):
        assert command.stdin == f"{OUT}\n".encode() * nix.EXPORT_PATHS
        assert len(command.line()) < 1000


def test_every_command_allows_flakes() -> None:
    """Machines whose Nix has flakes switched off need no setting of theirs."""
    for command in (nix.flake_update("/f", ("user",)), nix.instantiate("/f", ("a", "b"))):
        assert "--extra-experimental-features" in command.argv
        assert "nix-command flakes" in command.argv
