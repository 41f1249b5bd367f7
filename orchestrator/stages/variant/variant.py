"""Choose the llama.cpp build that a machine's hardware deserves: a pure table.

The rules are tried in order and the first that applies wins. A pin in the
inventory wins over them, unless the facts contradict it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inventory.host import LlamaSource
from inventory.suggestion import did_you_mean
from orchestrator.errors import PlanError
from orchestrator.model.facts import GpuVendor
from orchestrator.model.stage import Stage
from orchestrator.model.variant import Backend, Variant, VariantChoice
from orchestrator.stages.variant.instruction_sets import ggml_features, psabi_level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from inventory.host import Host
    from orchestrator.model.facts import Facts, NvidiaGpu, PciDisplay


# AMD, "ROCm on Linux: system requirements, supported GPUs" (ROCm 6.4 and 7.0),
# and two that its math libraries and nixpkgs' rocmPackages compile for all the
# same: gfx906 (Radeon VII, MI50: deprecated) and gfx1102 (Radeon RX 7600). Left
# out of what nixpkgs compiles (rocm-modules/clr, gpuTargets, 2026-07) are old cards
# that AMD lists no more (gfx900, gfx1010) and the graphics of processors (gfx1103,
# gfx1150, gfx1151), where Vulkan works without a matched kernel and firmware.
ROCM_TARGETS = frozenset(
    {"gfx906", "gfx908", "gfx90a", "gfx942", "gfx950"}
    | {"gfx1030", "gfx1100", "gfx1101", "gfx1102", "gfx1200", "gfx1201"}
)

# CUDA Toolkit Release Notes, "CUDA Toolkit and Minimum Required Driver Version
# for CUDA Minor Version Compatibility": CUDA 12 runs on 525 and newer. CUDA 12
# compiles for 5.0 and newer; CUDA 13 for 7.5 and newer.
_OLDEST_CUDA_DRIVER = 525
_OLDEST_CUDA_CAPABILITY = (5, 0)
_OLDEST_CUDA_13_CAPABILITY = (7, 5)

# Intel's integrated GPU is device 2 of bus 0 in every processor generation
# (Intel processor datasheets, "Processor Graphics"); a card sits on another bus.
_INTEL_INTEGRATED = "0000:00:02.0"

# Mesa's CPU renderers and Google's; their names start like this in vulkaninfo.
_SOFTWARE_RENDERER = re.compile(r"llvmpipe|lavapipe|SwiftShader", re.IGNORECASE)


def choose_variant(host: Host, facts: Facts) -> VariantChoice:
    """Choose the variant for `host` from its facts, or check the one it is pinned to.

    Raises:
        PlanError: the pin is no variant, or it contradicts the facts and
            `orchestrate_force_variant` is not set.
    """
    found = _first_match(facts)
    if host.variant_pin is None:
        reason = f"{found.evidence} → {found.variant}"
        return _choice(host, facts, found.variant, reason, _driver_warnings(facts))
    pin = _pinned_variant(host, host.variant_pin)
    forced = _contradiction_warnings(host, facts, pin)
    reason = f"the inventory says {pin}, the hardware {found.variant}: {found.evidence}"
    if pin is found.variant:
        reason = f"the inventory says {pin}, and so does the hardware: {found.evidence}"
    return _choice(host, facts, pin, reason, (*forced, *_pin_warnings(facts, pin)))


def _choice(
    host: Host, facts: Facts, variant: Variant, reason: str, warnings: Iterable[str]
) -> VariantChoice:
    """Put the choice together with the GPU targets or CPU features it compiles for."""
    extreme = variant is Variant.EXTREME_CPU
    return VariantChoice(
        host=facts.host,
        variant=variant,
        reason=reason,
        pinned=host.variant_pin is not None,
        cuda_capabilities=_cuda_capabilities(facts) if variant in _CUDA else (),
        rocm_gfx_targets=_rocm_targets(facts) if variant is Variant.ROCM else (),
        cpu_features=ggml_features(facts.cpu_flags) if extreme else (),
        march=psabi_level(facts.cpu_flags) if extreme else None,
        system=facts.system,
        source=host.llama_source,
        web_ui=host.web_ui,
        warnings=(*warnings, *_target_warnings(facts, variant), *_source_warnings(host, variant)),
    )


# --- the table ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Match:
    """A rule that applied: the variant, and what in the facts speaks for it."""

    variant: Variant
    evidence: str


def _first_match(facts: Facts) -> _Match:
    for variant, rule in _RULES:
        if evidence := rule(facts):
            return _Match(variant, evidence)
    return _Match(Variant.CPU, _no_gpu(facts))


def _nvidia_with_driver(facts: Facts) -> str:
    return " and ".join(
        f"{gpu.name}, compute {gpu.compute_capability or 'unknown'}, driver {gpu.driver}"
        for gpu in facts.nvidia_gpus
        if _runs_cuda(gpu)
    )


def _amd_with_rocm(facts: Facts) -> str:
    if facts.system != "x86_64-linux":
        return ""
    targets = sorted(ROCM_TARGETS.intersection(facts.kfd_gfx_targets))
    return f"AMD {' and '.join(targets)}, which ROCm supports" if targets else ""


def _amd_without_rocm(facts: Facts) -> str:
    """Return AMD GPUs that Mesa's RADV drives: it needs the amdgpu kernel driver."""
    cards = [card for card in _cards(facts, GpuVendor.AMD) if card.driver == "amdgpu"]
    if not cards:
        return ""
    named = (
        " and ".join(sorted(set(facts.kfd_gfx_targets)))
        or f"{cards[0].vendor_id}:{cards[0].device_id}"
    )
    return f"AMD {named}, which ROCm does not support, with the amdgpu driver"


def _intel_card(facts: Facts) -> str:
    cards = [
        card
        for card in _cards(facts, GpuVendor.INTEL)
        if card.address != _INTEL_INTEGRATED and card.driver in {"i915", "xe"}
    ]
    return f"Intel Arc card at {cards[0].address}, driver {cards[0].driver}" if cards else ""


def _nvidia_with_vulkan(facts: Facts) -> str:
    """Return an NVIDIA GPU that CUDA can't use but some Vulkan driver can."""
    cards = _cards(facts, GpuVendor.NVIDIA)
    devices = _hardware_vulkan_devices(facts)
    if not cards or not devices:
        return ""
    return f"NVIDIA GPU without a CUDA driver, but with the Vulkan device {devices[0]}"


def _nvidia_without_driver(facts: Facts) -> str:
    cards = _cards(facts, GpuVendor.NVIDIA)
    return f"NVIDIA GPU at {cards[0].address} without a driver that computes" if cards else ""


def _amd_without_driver(facts: Facts) -> str:
    cards = _cards(facts, GpuVendor.AMD)
    return f"AMD GPU at {cards[0].address} without the amdgpu driver" if cards else ""


def _intel_integrated(facts: Facts) -> str:
    """Return an integrated Intel GPU, which is slower than the CPU beside it.

    It shares the memory's bandwidth with the CPU, which bounds the generation of
    tokens, and most have no matrix units, so AVX2 and VNNI are as fast or faster.
    Who measured otherwise pins vulkan.
    """
    if not _cards(facts, GpuVendor.INTEL):
        return ""
    return "integrated Intel GPU, no faster than the CPU that it shares its memory with"


def _no_gpu(facts: Facts) -> str:
    if facts.pci_displays:
        ids = ", ".join(f"{card.vendor_id}:{card.device_id}" for card in facts.pci_displays)
        return f"no GPU that computes (display {ids})"
    return "no GPU"


# NVIDIA with its driver before an AMD card, as CUDA is llama.cpp's fastest
# backend; anything that needs no vendor's runtime after both.
_RULES: tuple[tuple[Variant, Callable[[Facts], str]], ...] = (
    (Variant.CUDA, _nvidia_with_driver),
    (Variant.ROCM, _amd_with_rocm),
    (Variant.VULKAN, _intel_card),
    (Variant.VULKAN, _amd_without_rocm),
    (Variant.VULKAN, _nvidia_with_vulkan),
    (Variant.CPU, _nvidia_without_driver),
    (Variant.CPU, _amd_without_driver),
    (Variant.CPU, _intel_integrated),
)

_CUDA = frozenset(variant for variant in Variant if variant.backend is Backend.CUDA)
_RPC_FOR_MPI = {Variant.MPI_CPU: Variant.RPC, Variant.MPI_CUDA: Variant.RPC_CUDA}


# --- pins -----------------------------------------------------------------------


def _pinned_variant(host: Host, pin: str) -> Variant:
    try:
        return Variant(pin)
    except ValueError:
        raise PlanError(
            message=f"no variant is called {pin!r}",
            hint=did_you_mean(pin, (variant.value for variant in Variant)),
            host=host.name,
            stage=Stage.VARIANT,
        ) from None


def _contradiction(facts: Facts, pin: Variant) -> str:
    """Say which fact makes the pinned variant impossible; empty if none does."""
    if pin in _CUDA and not facts.nvidia_gpus and not _cards(facts, GpuVendor.NVIDIA):
        return "the host has no NVIDIA device"
    if pin is Variant.ROCM and facts.system != "x86_64-linux":
        return f"ROCm exists for x86_64-linux only and the host is {facts.system}"
    if pin is Variant.ROCM and not facts.kfd_gfx_targets and not _cards(facts, GpuVendor.AMD):
        return "the host has no AMD device"
    return ""


def _contradiction_warnings(host: Host, facts: Facts, pin: Variant) -> tuple[str, ...]:
    contradiction = _contradiction(facts, pin)
    if not contradiction:
        return ()
    if host.force_variant:
        return (f"{pin} is forced although {contradiction}",)
    raise PlanError(
        message=f"the inventory says {pin}, but {contradiction}",
        hint="remove orchestrate_llama_variant, or set orchestrate_force_variant: true",
        host=host.name,
        stage=Stage.VARIANT,
    )


def _pin_warnings(facts: Facts, pin: Variant) -> tuple[str, ...]:
    warnings = []
    if pin in _RPC_FOR_MPI:
        warnings.append(
            "llama.cpp removed its MPI backend in 2024-05 (#7395), this build only adds the"
            f" library: pin {_RPC_FOR_MPI[pin]} to spread a model over machines"
        )
    if pin is Variant.VULKAN and not _has_gpu(facts):
        warnings.append("the host has no GPU: a software renderer will do the work, slowly")
    if pin is Variant.EXTREME_CPU and not ggml_features(facts.cpu_flags):
        warnings.append("no CPU feature to switch on is known here: the build equals cpu")
    if pin.backend is not Backend.CPU:
        warnings.extend(_driver_warnings(facts))
    return tuple(warnings)


# --- warnings about drivers and targets -----------------------------------------


def _driver_warnings(facts: Facts) -> tuple[str, ...]:
    """Say which GPUs lie idle for want of a driver, and what would load it."""
    warnings = []
    cards = _cards(facts, GpuVendor.NVIDIA)
    if cards and not facts.nvidia_gpus:
        driver = cards[0].driver or "no"
        warnings.append(
            f"the NVIDIA GPU at {cards[0].address} has the {driver} driver, and nvidia-smi "
            'does not answer: services.xserver.videoDrivers = [ "nvidia" ] loads the one '
            "that CUDA needs"
        )
    warnings.extend(
        f"{gpu.name} with driver {gpu.driver} can't run CUDA 12: it takes driver "
        f"{_OLDEST_CUDA_DRIVER} and compute 5.0 or newer"
        for gpu in facts.nvidia_gpus
        if not _runs_cuda(gpu)
    )
    warnings.extend(
        f"the AMD GPU at {card.address} has the {card.driver or 'no'} driver: "
        "Vulkan and ROCm need amdgpu"
        for card in _cards(facts, GpuVendor.AMD)
        if card.driver not in {"amdgpu", "vfio-pci"}
    )
    return tuple(warnings)


def _target_warnings(facts: Facts, variant: Variant) -> tuple[str, ...]:
    if variant in _CUDA:
        old = [text for text in _cuda_capabilities(facts) if _old_for_cuda_13(text)]
        return tuple(
            f"compute {text} needs CUDA 12: cudaPackages of CUDA 13 starts at 7.5" for text in old
        )
    if variant is Variant.ROCM:
        return tuple(
            f"ROCm does not support {target}: its libraries may have no kernels for it"
            for target in _rocm_targets(facts)
            if target not in ROCM_TARGETS
        )
    return ()


def _source_warnings(host: Host, variant: Variant) -> tuple[str, ...]:
    """Say what the package of nixpkgs can't do that upstream's can."""
    if host.llama_source is LlamaSource.UPSTREAM:
        return ()
    warnings = []
    if variant in _RPC_FOR_MPI:
        warnings.append(f"nixpkgs' llama-cpp knows no MPI: {variant} is built without")
    if not host.web_ui:
        warnings.append("nixpkgs' llama-cpp always has its web interface")
    return tuple(warnings)


# --- reading the facts ----------------------------------------------------------


def _cards(facts: Facts, vendor: GpuVendor) -> tuple[PciDisplay, ...]:
    return tuple(card for card in facts.pci_displays if card.vendor is vendor)


def _has_gpu(facts: Facts) -> bool:
    """Whether anything but a software renderer could answer to Vulkan."""
    vendors = (GpuVendor.NVIDIA, GpuVendor.AMD, GpuVendor.INTEL)
    cards = any(_cards(facts, vendor) for vendor in vendors)
    return cards or bool(facts.nvidia_gpus) or bool(_hardware_vulkan_devices(facts))


def _hardware_vulkan_devices(facts: Facts) -> tuple[str, ...]:
    return tuple(name for name in facts.vulkan_devices if not _SOFTWARE_RENDERER.search(name))


def _runs_cuda(gpu: NvidiaGpu) -> bool:
    """Whether CUDA 12 runs on it; what the driver does not tell counts as new."""
    major = re.match(r"[0-9]{1,5}", gpu.driver)
    new_driver = major is None or int(major[0]) >= _OLDEST_CUDA_DRIVER
    return new_driver and _version(gpu.compute_capability) >= _OLDEST_CUDA_CAPABILITY


def _version(capability: str) -> tuple[int, int]:
    major, _, minor = (capability or "99.0").partition(".")
    return int(major), int(minor)


def _old_for_cuda_13(capability: str) -> bool:
    return _version(capability) < _OLDEST_CUDA_13_CAPABILITY


def _cuda_capabilities(facts: Facts) -> tuple[str, ...]:
    known = {gpu.compute_capability for gpu in facts.nvidia_gpus if _runs_cuda(gpu)}
    return tuple(sorted(known - {""}, key=_version))


def _rocm_targets(facts: Facts) -> tuple[str, ...]:
    """Return the supported targets, or all of them if none is: then by a pin."""
    present = set(facts.kfd_gfx_targets)
    return tuple(sorted(present & ROCM_TARGETS or present))
