"""What a processor's flags mean to ggml and to gcc."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stages.variant.instruction_sets import ggml_features, psabi_level

V2 = "fpu sse sse2 pni ssse3 sse4_1 sse4_2 popcnt cx16 lahf_lm"
V3 = f"{V2} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"
LEVELS = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]


def rank(level: str | None) -> int:
    """Say how much a level includes."""
    return -1 if level is None else LEVELS.index(level)


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("fpu sse sse2", None),
        (V2, "x86-64-v2"),
        (f"{V2} avx avx2", "x86-64-v2"),
        (V3, "x86-64-v3"),
        (V3.replace("abm ", ""), "x86-64-v2"),
        (f"{V3} avx512f", "x86-64-v3"),
        (V4, "x86-64-v4"),
        (V4.replace("movbe ", ""), "x86-64-v2"),
        ("fp asimd evtstrm aes sha2 asimddp sve", None),
    ],
)
def test_a_level_needs_all_of_it(flags: str, level: str | None) -> None:
    """A masked flag takes the level away, whatever lies above it."""
    assert psabi_level(flags.split()) == level


@given(st.sets(st.sampled_from(V4.split())), st.sets(st.sampled_from(V4.split())))
def test_more_flags_never_lower_the_level(some: set[str], more: set[str]) -> None:
    """What a level promises, a richer processor has too."""
    assert rank(psabi_level(some)) <= rank(psabi_level(some | more))
    assert set(ggml_features(some)) <= set(ggml_features(some | more))


def test_ggmls_avx512_is_five_flags() -> None:
    """Ggml switches them on together, so that one alone is none."""
    assert "AVX512" in ggml_features(V4.split())
    assert "AVX512" not in ggml_features([*V3.split(), "avx512f"])
