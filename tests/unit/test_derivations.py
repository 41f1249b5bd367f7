"""What derivations require of a builder, as their files and Nix say it."""

from __future__ import annotations

import pytest

from orchestrator.errors import PayloadError
from orchestrator.stages.derivations import parse_derivations
from tests.plans import derivation

LLAMA, SYSTEM = derivation("llama-cpp"), derivation("nixos")
STRUCTURED = (
    r'("__json","{\"args\":\"a\\n\\\"b\",\"requiredSystemFeatures\":[\"kvm\",\"big-parallel\"]}")'
)


@pytest.mark.parametrize(
    ("binding", "features"),
    [
        ("", set()),
        ('("requiredSystemFeatures","")', set()),
        (
            '("requiredSystemFeatures","big-parallel gccarch-x86-64-v3")',
            {"big-parallel", "gccarch-x86-64-v3"},
        ),
        (STRUCTURED, {"kvm", "big-parallel"}),
        (r'("__json","{\"name\":\"x\"}")', set()),
    ],
    ids=["none", "empty", "words", "structured", "structured without"],
)
def test_required_features_are_read(binding: str, features: set[str]) -> None:
    """Plain and structured attributes alike; a derivation without any requires nothing."""
    text = f"derivation {LLAMA}\n{binding}\n" if binding else f"derivation {LLAMA}\n"
    assert parse_derivations(f"{text}derivation {SYSTEM}\n") == {
        LLAMA: frozenset(features),
        SYSTEM: frozenset(),
    }


@pytest.mark.parametrize(
    "text",
    [
        "hello\n",
        "derivation /tmp/x.drv\n",
        '("requiredSystemFeatures","kvm")\n',
        f'derivation {LLAMA}\n("__json","nonsense")\n',
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """What is no answer about a derivation is none."""
    with pytest.raises(PayloadError):
        parse_derivations(text)
