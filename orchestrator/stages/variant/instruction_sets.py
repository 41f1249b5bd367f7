"""What a processor can do, in the words of ggml and of gcc: a pure table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# ggml's option (ggml/CMakeLists.txt, GGML_<name>) and the flags in /proc/cpuinfo
# of all the instruction sets that it switches on (ggml/src/ggml-cpu/CMakeLists.txt).
_GGML_FEATURES = {
    "SSE42": {"sse4_2"},
    "AVX": {"avx"},
    "AVX2": {"avx2"},
    "AVX_VNNI": {"avx_vnni"},
    "BMI2": {"bmi2"},
    "FMA": {"fma"},
    "F16C": {"f16c"},
    "AVX512": {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"},
    "AVX512_VBMI": {"avx512vbmi"},
    "AVX512_VNNI": {"avx512_vnni"},
    "AVX512_BF16": {"avx512_bf16"},
    "AMX_TILE": {"amx_tile"},
    "AMX_INT8": {"amx_int8"},
    "AMX_BF16": {"amx_bf16"},
}

# x86-64 psABI, "Micro-Architecture Levels", each with those before it. Linux
# calls SSE3 pni and LZCNT abm, and names no AVX unless OSXSAVE is on.
_PSABI_LEVELS = {
    "x86-64-v2": {"cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3"},
    "x86-64-v3": {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"},
    "x86-64-v4": {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"},
}


def ggml_features(cpu_flags: Iterable[str]) -> tuple[str, ...]:
    """Return ggml's names of what the processor has."""
    flags = set(cpu_flags)
    return tuple(name for name, needed in _GGML_FEATURES.items() if needed <= flags)


def psabi_level(cpu_flags: Iterable[str]) -> str | None:
    """Return gcc's -march for the processor; None if gcc's default is all it has.

    A level rather than a model such as znver4: its instruction sets are all
    among the flags, which a hypervisor may have masked; it is what builders
    declare; and hosts of one level share a build. What a model has beyond it,
    ggml's own options switch on where it counts.
    """
    flags = set(cpu_flags)
    reached = None
    for level, needed in _PSABI_LEVELS.items():
        if not needed <= flags:
            break
        reached = level
    return reached
