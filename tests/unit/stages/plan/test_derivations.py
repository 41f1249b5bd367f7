"""What derivations require of a builder, as their files and Nix say it."""

from __future__ import annotations

import pytest

from orchestrator.errors import PayloadError
from orchestrator.scripts import Answer, parse_answer
from orchestrator.stages.plan.derivations import Needs, read_derivations
from tests.plans import derivation, output

LLAMA, SYSTEM = derivation("llama-cpp"), derivation("nixos")
STRUCTURED = (
    r'("__json","{\"args\":\"a\\n\\\"b\",\"requiredSystemFeatures\":[\"kvm\",\"big-parallel\"]}")'
)


def said(*lines: str) -> Answer:
    """Give what the script answered."""
    return parse_answer("".join(f"orchestrate:{line}\n" for line in (*lines, "exit=0")))


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
    bindings = (f"binding={binding}",) if binding else ()
    found = read_derivations(said(f"derivation={LLAMA}", *bindings, f"derivation={SYSTEM}"))
    assert found == {
        LLAMA: Needs(frozenset(features)),
        SYSTEM: Needs(),
    }


def test_inputs_are_read() -> None:
    """What a package is built from is told after all features, under its name again."""
    features = 'binding=("requiredSystemFeatures","kvm")'
    inputs = (f"input={path}" for path in (output("openssl"), output("cmake")))
    names = (f"derivation={LLAMA}", features, f"derivation={SYSTEM}", f"derivation={LLAMA}")
    assert read_derivations(said(*names, *inputs)) == {
        LLAMA: Needs(frozenset({"kvm"}), frozenset({output("openssl"), output("cmake")})),
        SYSTEM: Needs(),
    }


@pytest.mark.parametrize(
    "lines",
    [
        ("hello=you",),
        ("derivation=/tmp/x.drv",),
        ('binding=("requiredSystemFeatures","kvm")',),
        (f"input={output('x')}",),
        (f"derivation={LLAMA}", 'binding=("__json","nonsense")'),
        (f"derivation={LLAMA}", 'binding=("name","x")'),
    ],
)
def test_anything_else_is_refused(lines: tuple[str, ...]) -> None:
    """What is no answer about a derivation is none."""
    with pytest.raises(PayloadError):
        read_derivations(said(*lines))
