"""Nix source read and edited without a byte of the rest being touched."""

from __future__ import annotations

import pytest

from orchestrator.adopt import edit
from orchestrator.adopt.edit import Edit, apply
from orchestrator.adopt.packages import SYSTEM, addition
from orchestrator.adopt.syntax import attrset, elements, own_lists, parse, text_of, values
from orchestrator.errors import UsageError

BOTH_STYLES = (
    b"{ environment.systemPackages = [ a ]; }",
    b"{ environment = { systemPackages = [ a ]; }; }",
    b'{ environment."systemPackages" = (with pkgs; [ a ]); }',
    b"rec { environment = rec { systemPackages = [ a ] ++ []; }; }",
)


def test_edits_come_in_any_order() -> None:
    """Edits are made by place, not in the order that they are given."""
    assert apply(b"abcd", [Edit(3, 4, b"D"), Edit(0, 1, b""), Edit(2, 2, b"-")]) == b"b-cD"


def test_overlapping_edits_are_refused() -> None:
    """Two edits of one byte are a defect, not a silent loss."""
    with pytest.raises(ValueError, match="overlap"):
        apply(b"abcd", [Edit(0, 2, b""), Edit(1, 3, b"")])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"{ a = 1;\n  b = ; }", "machines/a.nix:2:7"),
        (b"{ a = [ 1 ; }", "machines/a.nix:1:"),
        (b'{ "\xc3\xbc" = 1; b = = 2; }', "machines/a.nix:1:"),
        (b"# nothing\n", "machines/a.nix:1:1"),
        (b"{ , }: 1", "machines/a.nix:1:"),
    ],
)
def test_what_is_no_nix_is_told_with_its_place(text: bytes, place: str) -> None:
    """The error names file, line and column, and who can say more."""
    with pytest.raises(UsageError, match="can't be read as Nix") as raised:
        parse("machines/a.nix", text)
    assert raised.value.message.startswith(place)
    assert "nix-instantiate --parse machines/a.nix" in raised.value.hint


@pytest.mark.parametrize("text", [b"{ a, b ? 1, }: a", b"i@{ a, # x\n}: { b, /**/ }: 1"])
def test_the_comma_behind_the_last_argument_is_nix(text: bytes) -> None:
    """What nixfmt writes is read, and the text keeps its comma."""
    assert parse("a.nix", text).text == text


@pytest.mark.parametrize("text", BOTH_STYLES)
def test_an_option_is_found_in_either_style(text: bytes) -> None:
    """`a.b = …;` and `a = { b = …; };` are the same."""
    body = attrset(parse("a.nix", text).expression)
    assert body is not None
    (value,) = values(body, SYSTEM)
    assert [text_of(node) for node in elements(own_lists(value)[0])] == ["a"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[ ]", "[ x ]"),
        ("[]", "[ x ]"),
        ("[ a ]", "[ a x ]"),
        ("[a]", "[a x]"),
        ("[\n  a # the first\n]", "[\n  a # the first\n  x\n]"),
        ("[\n  # none yet\n]", "[\n  # none yet\n  x\n]"),
        ("[\n]", "[\n  x\n]"),
        ("[ # some\n  ]", "[ # some\n  x\n  ]"),
        ("[ a\n  b ]", "[ a\n  b\n  x ]"),
        ("[\r\n\ta\r\n]", "[\r\n\ta\r\n\tx\r\n]"),
    ],
)
def test_a_list_grows_in_its_own_layout(before: str, after: str) -> None:
    """A new element stands as its neighbours do, and no comment swallows it."""
    source = parse("a.nix", before.encode())
    changed = apply(source.text, [edit.member(source, source.expression, (b"x",))])
    assert changed.decode() == after
    assert [text_of(node) for node in elements(parse("a.nix", changed).expression)][-1] == "x"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[ a gone b ]", "[ a b ]"),
        ("[ gone ]", "[ ]"),
        ("[\n  a\n  gone # by hand\n  b\n]", "[\n  a\n  b\n]"),
        ("[\n  gone b\n]", "[\n  b\n]"),
        ("[\n  a gone # both\n]", "[\n  a # both\n]"),
    ],
)
def test_an_element_goes_with_its_line_only_where_it_is_alone(before: str, after: str) -> None:
    """Nothing that belongs to a neighbour goes along."""
    source = parse("a.nix", before.encode())
    gone = next(node for node in elements(source.expression) if text_of(node) == "gone")
    assert apply(source.text, [edit.removed(source, gone)]).decode() == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{ pkgs, ... }: { }", "{ pkgs, ... }: { environment.systemPackages = [ pkgs.x ]; }"),
        ("{ ... }: { }", "{ pkgs, ... }: { environment.systemPackages = [ pkgs.x ]; }"),
        ("{ }", "{ pkgs, ... }:\n{ environment.systemPackages = [ pkgs.x ]; }"),
        (
            "args: { }",
            "args@{ pkgs, ... }: { environment.systemPackages = [ pkgs.x ]; }",
        ),
        (
            "{\n  lib,\n  ...\n}:\n{\n  a = 1;\n}",
            (
                "{\n  lib,\n  pkgs,\n  ...\n}:\n{\n  a = 1;\n"
                "  environment.systemPackages = [ pkgs.x ];\n}"
            ),
        ),
        (
            "{ lib\n, ...\n}: { config = { a = 1; }; options = { }; }",
            (
                "{ lib, pkgs\n, ...\n}:"
                " { config = { a = 1; environment.systemPackages = [ pkgs.x ]; };"
                " options = { }; }"
            ),
        ),
    ],
)
def test_a_module_without_packages_gets_some(before: str, after: str) -> None:
    """Pkgs comes into scope as the module's own style has it."""
    source = parse("a.nix", before.encode())
    edits = addition(source, source.expression, SYSTEM, "x")
    assert edits is not None
    changed = apply(source.text, edits)
    assert changed.decode() == after
    parse("a.nix", changed)


@pytest.mark.parametrize(
    "text",
    [
        "{ config = lib.mkIf true { }; }",
        "{ environment = import ./e.nix; }",
        "{ environment.systemPackages = import ./p.nix; }",
        "import ./other.nix",
    ],
)
def test_a_module_that_can_not_be_written_to_is_left_alone(text: str) -> None:
    """There is no addition where it would be a guess."""
    source = parse("a.nix", text.encode())
    assert addition(source, source.expression, SYSTEM, "x") is None
