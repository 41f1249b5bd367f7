"""The llama.cpp variants and the choice of one for a host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from inventory.host import LlamaSource


class Backend(StrEnum):
    """The ggml backend that does the work, as llama.cpp itself names it."""

    CPU = "CPU"
    CUDA = "CUDA"
    ROCM = "ROCm"
    VULKAN = "Vulkan"


class Variant(StrEnum):
    """A build of llama.cpp; the value is the suffix of its overlay attribute."""

    DEFAULT = "default"
    CPU = "cpu"
    EXTREME_CPU = "extreme-cpu"
    CUDA = "cuda"
    ROCM = "rocm"
    VULKAN = "vulkan"
    MPI_CPU = "mpi-cpu"
    MPI_CUDA = "mpi-cuda"
    RPC = "rpc"
    RPC_CUDA = "rpc-cuda"

    @property
    def attribute(self) -> str:
        """The overlay attribute: `llama-cpp` for the default, else `llama-cpp-<variant>`."""
        return "llama-cpp" if self is Variant.DEFAULT else f"llama-cpp-{self.value}"

    @property
    def backend(self) -> Backend:
        """The backend whose device must show in the smoke."""
        return _BACKENDS.get(self, Backend.CPU)

    @property
    def builder_features(self) -> frozenset[str]:
        """The system features a builder must declare for this variant's heavy build."""
        return _BUILDER_FEATURES.get(self, frozenset())


_BACKENDS = {
    Variant.CUDA: Backend.CUDA,
    Variant.MPI_CUDA: Backend.CUDA,
    Variant.RPC_CUDA: Backend.CUDA,
    Variant.ROCM: Backend.ROCM,
    Variant.VULKAN: Backend.VULKAN,
}

_BUILDER_FEATURES = {
    Variant.CUDA: frozenset({"cuda"}),
    Variant.MPI_CUDA: frozenset({"cuda"}),
    Variant.RPC_CUDA: frozenset({"cuda"}),
    Variant.ROCM: frozenset({"rocm"}),
}


@dataclass(frozen=True, slots=True)
class VariantChoice:
    """Which variant a host gets, and why in words a user can check.

    `cuda_capabilities` (8.9) and `rocm_gfx_targets` (gfx1100) narrow what is
    compiled to this host's GPUs; empty leaves the package's own list.
    `cpu_features` are ggml's names (AVX2) of what an extreme-cpu build may use,
    and `march` is gcc's for the rest of it; None leaves the compiler's default.
    Only hosts of one `system` can share a build.
    """

    host: str
    variant: Variant
    reason: str
    pinned: bool = False
    cuda_capabilities: tuple[str, ...] = ()
    rocm_gfx_targets: tuple[str, ...] = ()
    cpu_features: tuple[str, ...] = ()
    march: str | None = None
    system: str = ""
    source: LlamaSource = LlamaSource.UPSTREAM
    web_ui: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def builder_features(self) -> frozenset[str]:
        """The system features that a builder of this very package must declare."""
        own = frozenset({f"gccarch-{self.march}"} if self.march else ())
        return self.variant.builder_features | own

    @property
    def gpu_targets(self) -> tuple[str, ...]:
        """What the GPUs are called by the compiler of this variant."""
        return self.cuda_capabilities or self.rocm_gfx_targets
