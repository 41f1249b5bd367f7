"""Which GPUs a build that several hosts share compiles for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stages.flake.gpu_targets import BuildTargets, share_targets

CUDA = ("llama-cpp-cuda", "x86_64-linux")
CUDA_ON_ARM = ("llama-cpp-cuda", "aarch64-linux")
ROCM = ("llama-cpp-rocm", "x86_64-linux")

FLEETS = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.builds(
        BuildTargets,
        st.sampled_from([CUDA, CUDA_ON_ARM]),
        st.sets(st.sampled_from(["6.1", "7.5", "8.6", "8.9", "9.0", "10.0"])).map(tuple),
    ),
)


@pytest.mark.parametrize(
    ("wishes", "targets"),
    [
        ({}, {}),
        ({"a": BuildTargets(CUDA, ("8.6",))}, {"a": ("8.6",)}),
        (
            {"a": BuildTargets(CUDA, ("8.9",)), "b": BuildTargets(CUDA, ("8.6",))},
            {"a": ("8.6", "8.9"), "b": ("8.6", "8.9")},
        ),
        (
            {"a": BuildTargets(CUDA, ("10.0",)), "b": BuildTargets(CUDA, ("9.0", "8.6"))},
            {"a": ("8.6", "9.0", "10.0"), "b": ("8.6", "9.0", "10.0")},
        ),
        (
            {"a": BuildTargets(ROCM, ("gfx1100",)), "b": BuildTargets(ROCM, ("gfx90a",))},
            {"a": ("gfx90a", "gfx1100"), "b": ("gfx90a", "gfx1100")},
        ),
        (
            {"a": BuildTargets(CUDA, ("8.9",)), "b": BuildTargets(CUDA_ON_ARM, ("12.1",))},
            {"a": ("8.9",), "b": ("12.1",)},
        ),
        (
            {"a": BuildTargets(CUDA, ("8.9",)), "b": BuildTargets(CUDA, ())},
            {"a": ("8.9",), "b": ()},
        ),
        (
            {"a": BuildTargets(CUDA, ("8.9",)), "b": BuildTargets(CUDA, ("6.1", "8.6"))},
            {"a": ("8.9",), "b": ("6.1", "8.6")},
        ),
    ],
    ids=["none", "one", "two", "numeric", "rocm", "systems", "unknown", "dropped by CUDA 13"],
)
def test_hosts_of_one_package_share_its_targets(
    wishes: dict[str, BuildTargets], targets: dict[str, tuple[str, ...]]
) -> None:
    """They compile for all their GPUs; other packages, unknown and old GPUs stay apart."""
    assert {host: wish.targets for host, wish in share_targets(wishes).items()} == targets


@given(FLEETS)
def test_sharing_covers_every_gpu_and_settles(fleet: dict[str, BuildTargets]) -> None:
    """Each host keeps its own targets, equal packages have few builds, twice is once."""
    shared = share_targets(fleet)
    assert shared == share_targets(dict(reversed(fleet.items())))
    assert share_targets(shared) == shared
    for host, wish in fleet.items():
        assert set(wish.targets) <= set(shared[host].targets)
        assert bool(shared[host].targets) is bool(wish.targets)
    for package in (CUDA, CUDA_ON_ARM):
        builds = {wish.targets for wish in shared.values() if wish.package == package}
        assert len(builds) <= len(["shared", "old", "unknown"])
