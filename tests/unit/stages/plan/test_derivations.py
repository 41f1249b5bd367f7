"""What derivations require of a builder, as their files and Nix say it."""

from __future__ import annotations

import pytest

from orchestrator.errors import PayloadError
from orchestrator.stages.plan.derivations import Needs, parse_derivations
from tests.plans import derivation, output

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
        LLAMA: Needs(frozenset(features)),
        SYSTEM: Needs(),
    }


def test_inputs_are_read() -> None:
    """What a package is built from is told after all features, under its name again."""
    inputs = "".join(f"input {path}\n" for path in (output("openssl"), output("cmake")))
    text = (
        f'derivation {LLAMA}\n("requiredSystemFeatures","kvm")\nderivation {SYSTEM}\n'
        f"derivation {LLAMA}\n{inputs}"
    )
    assert parse_derivations(text) == {
        LLAMA: Needs(frozenset({"kvm"}), frozenset({output("openssl"), output("cmake")})),
        SYSTEM: Needs(),
    }


@pytest.mark.parametrize(
    "text",
    [
        "hello\n",
        "derivation /tmp/x.drv\n",
        '("requiredSystemFeatures","kvm")\n',
        f"input {output('x')}\n",
        f'derivation {LLAMA}\n("__json","nonsense")\n',
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """What is no answer about a derivation is none."""
    with pytest.raises(PayloadError):
        parse_derivations(text)
