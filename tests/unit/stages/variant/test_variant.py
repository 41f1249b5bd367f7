"""The variant that a machine's hardware deserves, with its reason."""

from __future__ import annotations

import pytest

from inventory.host import Connection, Host, LlamaSource
from orchestrator.errors import PlanError
from orchestrator.model.variant import Backend, Variant, VariantChoice
from orchestrator.stages.facts.facts import parse_facts
from orchestrator.stages.variant.variant import ROCM_TARGETS, choose_variant
from tests import ROOT

RECORDED = ROOT / "tests/unit/stages/facts/recorded"


def choose(machine: str, pin: str | None = None, *, force: bool = False) -> VariantChoice:
    """Choose for a recorded machine."""
    host = Host(
        machine, Connection(machine), nixos_name=machine, variant_pin=pin, force_variant=force
    )
    facts = parse_facts(machine, (RECORDED / f"{machine}.txt").read_text())
    return choose_variant(host, facts)


@pytest.mark.parametrize(
    ("machine", "variant", "reason"),
    [
        (
            "nvidia-rtx-4090",
            Variant.CUDA,
            "NVIDIA GeForce RTX 4090, compute 8.9, driver 580.65.06 → cuda",
        ),
        (
            "nvidia-two-generations",
            Variant.CUDA,
            (
                "NVIDIA GeForce RTX 3090, compute 8.6, driver 570.172.08 and "
                "NVIDIA GeForce GTX 1080 Ti, compute 6.1, driver 570.172.08 → cuda"
            ),
        ),
        ("nvidia-grace-spark", Variant.CUDA, "NVIDIA GB10, compute 12.1, driver 580.95.05 → cuda"),
        (
            "nvidia-nouveau",
            Variant.CPU,
            "NVIDIA GPU at 0000:01:00.0 without a driver that computes → cpu",
        ),
        (
            "nvidia-nouveau-nvk",
            Variant.VULKAN,
            (
                "NVIDIA GPU without a CUDA driver, but with the Vulkan device "
                "NVIDIA GeForce RTX 3060 (NVK GA106) → vulkan"
            ),
        ),
        (
            "nvidia-driver-470",
            Variant.CPU,
            "NVIDIA GPU at 0000:01:00.0 without a driver that computes → cpu",
        ),
        (
            "framework-13-radeon-780m",
            Variant.VULKAN,
            "AMD gfx1103, which ROCm does not support, with the amdgpu driver → vulkan",
        ),
        ("radeon-rx-7900-xtx", Variant.ROCM, "AMD gfx1100, which ROCm supports → rocm"),
        (
            "radeon-rx-6700-xt",
            Variant.VULKAN,
            "AMD gfx1031, which ROCm does not support, with the amdgpu driver → vulkan",
        ),
        (
            "radeon-hd-7970",
            Variant.CPU,
            "AMD GPU at 0000:01:00.0 without the amdgpu driver → cpu",
        ),
        ("instinct-mi210", Variant.ROCM, "AMD gfx90a, which ROCm supports → rocm"),
        (
            "intel-iris-xe",
            Variant.CPU,
            "integrated Intel GPU, no faster than the CPU that it shares its memory with → cpu",
        ),
        (
            "intel-arc-a770",
            Variant.VULKAN,
            "Intel Arc card at 0000:03:00.0, driver i915 → vulkan",
        ),
        ("virtual-machine", Variant.CPU, "no GPU that computes (display 1af4:1050) → cpu"),
        ("virtual-machine-lavapipe", Variant.CPU, "no GPU that computes (display 1b36:0100) → cpu"),
        ("aarch64-server", Variant.CPU, "no GPU that computes (display 1a03:2000) → cpu"),
        ("cpu-server", Variant.CPU, "no GPU → cpu"),
    ],
)
def test_hardware_decides(machine: str, variant: Variant, reason: str) -> None:
    """Without a pin the first rule that applies decides, and says so."""
    choice = choose(machine)
    assert (choice.host, choice.variant, choice.reason) == (machine, variant, reason)
    assert not choice.pinned


@pytest.mark.parametrize(
    ("machine", "capabilities"),
    [
        ("nvidia-rtx-4090", ("8.9",)),
        ("nvidia-two-generations", ("6.1", "8.6")),
        ("nvidia-blackwell-and-hopper", ("9.0", "10.0")),
    ],
)
def test_every_capability_is_compiled_for(machine: str, capabilities: tuple[str, ...]) -> None:
    """A machine with several NVIDIA GPUs gets the code of each, in numeric order."""
    assert choose(machine).cuda_capabilities == capabilities


def test_rocm_compiles_for_supported_gpus_only() -> None:
    """The integrated GPU beside a Radeon card is left out."""
    assert choose("radeon-rx-7900-xtx").rocm_gfx_targets == ("gfx1100",)
    assert choose("instinct-mi210").rocm_gfx_targets == ("gfx90a",)


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        ("nvidia-nouveau", 'services.xserver.videoDrivers = [ "nvidia" ]'),
        ("nvidia-nouveau", "nouveau driver"),
        ("nvidia-driver-470", "GTX 780 with driver 470.256.02 can't run CUDA 12"),
        ("nvidia-two-generations", "compute 6.1 needs CUDA 12"),
        ("radeon-hd-7970", "has the radeon driver"),
    ],
)
def test_an_idle_gpu_is_pointed_out(machine: str, says: str) -> None:
    """A GPU that lies idle, or that a newer CUDA drops, comes with a warning."""
    assert any(says in warning for warning in choose(machine).warnings)


@pytest.mark.parametrize("machine", ["nvidia-rtx-4090", "framework-13-radeon-780m", "cpu-server"])
def test_good_hardware_gives_no_warning(machine: str) -> None:
    """Where everything works there is nothing to say."""
    assert choose(machine).warnings == ()


def test_a_pin_that_agrees() -> None:
    """A pin that the hardware agrees with keeps its GPU targets and no warning."""
    choice = choose("nvidia-rtx-4090", "cuda")
    assert choice.pinned
    assert choice.reason.startswith("the inventory says cuda, and so does the hardware: NVIDIA")
    assert (choice.cuda_capabilities, choice.warnings) == (("8.9",), ())


def test_a_pin_wins_over_the_hardware() -> None:
    """A laptop that shall run on its CPU does, though its GPU could work."""
    choice = choose("framework-13-radeon-780m", "cpu")
    assert choice.variant is Variant.CPU
    assert choice.reason.startswith("the inventory says cpu, the hardware vulkan: AMD gfx1103")
    assert choice.warnings == ()


@pytest.mark.parametrize(
    ("machine", "pin", "fact"),
    [
        ("cpu-server", "cuda", "the host has no NVIDIA device"),
        ("framework-13-radeon-780m", "cuda", "the host has no NVIDIA device"),
        ("virtual-machine", "mpi-cuda", "the host has no NVIDIA device"),
        ("intel-arc-a770", "rocm", "the host has no AMD device"),
        ("aarch64-server", "rocm", "x86_64-linux only and the host is aarch64-linux"),
    ],
)
def test_a_pin_that_contradicts_the_facts_blocks(machine: str, pin: str, fact: str) -> None:
    """The fact is named, and the way out; forced, it becomes a warning."""
    with pytest.raises(PlanError, match=fact) as caught:
        choose(machine, pin)
    assert (caught.value.host, caught.value.stage) == (machine, "variant")
    assert "orchestrate_force_variant: true" in caught.value.hint
    forced = choose(machine, pin, force=True)
    assert forced.variant == pin
    assert any(fact in warning for warning in forced.warnings)


def test_cuda_may_be_pinned_before_its_driver_is_there() -> None:
    """The deployment itself may bring the driver: a warning, and every GPU's code."""
    choice = choose("nvidia-nouveau", "cuda")
    assert choice.variant is Variant.CUDA
    assert choice.cuda_capabilities == ()
    assert any("nouveau" in warning for warning in choice.warnings)


def test_rocm_pinned_on_an_unsupported_gpu() -> None:
    """It is compiled for that GPU, with a warning about ROCm's libraries."""
    choice = choose("framework-13-radeon-780m", "rocm")
    assert choice.rocm_gfx_targets == ("gfx1103",)
    assert any("ROCm does not support gfx1103" in warning for warning in choice.warnings)


@pytest.mark.parametrize("machine", ["virtual-machine-lavapipe", "cpu-server"])
def test_vulkan_without_a_gpu_runs_on_a_software_renderer(machine: str) -> None:
    """That is allowed, as it does work, and said."""
    choice = choose(machine, "vulkan")
    assert choice.variant is Variant.VULKAN
    assert any("software renderer" in warning for warning in choice.warnings)


@pytest.mark.parametrize(
    ("machine", "pin", "successor"),
    [("cpu-server", "mpi-cpu", "pin rpc "), ("nvidia-rtx-4090", "mpi-cuda", "pin rpc-cuda ")],
)
def test_mpi_is_said_to_be_gone(machine: str, pin: str, successor: str) -> None:
    """Upstream removed the backend; the name still builds, and its successor is named."""
    (warning,) = choose(machine, pin).warnings
    assert "#7395" in warning
    assert successor in warning


@pytest.mark.parametrize(
    ("machine", "pin", "backend", "features"),
    [
        ("cpu-server", "rpc", Backend.CPU, set()),
        ("nvidia-rtx-4090", "rpc", Backend.CPU, set()),
        ("nvidia-rtx-4090", "rpc-cuda", Backend.CUDA, {"cuda"}),
    ],
)
def test_rpc_is_a_choice(machine: str, pin: str, backend: Backend, features: set[str]) -> None:
    """It needs no warning, computes on the CPU or by CUDA, and CUDA's builder."""
    choice = choose(machine, pin)
    assert (choice.variant.attribute, choice.warnings) == (f"llama-cpp-{pin}", ())
    assert choice.variant.backend is backend
    assert choice.builder_features == features
    assert bool(choice.cuda_capabilities) is (backend is Backend.CUDA)


def test_rpc_cuda_needs_an_nvidia_gpu() -> None:
    """It is refused as plain CUDA is."""
    with pytest.raises(PlanError, match="the host has no NVIDIA device"):
        choose("cpu-server", "rpc-cuda")


@pytest.mark.parametrize(
    ("machine", "pin", "march"),
    [
        ("cpu-server", "extreme-cpu", "x86-64-v4"),
        ("intel-iris-xe", "extreme-cpu", "x86-64-v3"),
        ("virtual-machine", "extreme-cpu", "x86-64-v2"),
        ("aarch64-server", "extreme-cpu", None),
        ("cpu-server", "cpu", None),
    ],
)
def test_extreme_cpu_names_the_level_and_its_builder(
    machine: str, pin: str, march: str | None
) -> None:
    """Only extreme-cpu compiles for one level, and asks for a builder that has it."""
    choice = choose(machine, pin)
    assert choice.march == march
    assert choice.builder_features == ({f"gccarch-{march}"} if march else set())


def test_the_source_is_carried_with_what_it_lacks() -> None:
    """Nixpkgs' package has the web interface always and MPI never, which is said."""
    host = Host(
        "cpu-server",
        Connection("cpu-server"),
        nixos_name="cpu-server",
        variant_pin="mpi-cpu",
        llama_source=LlamaSource.NIXPKGS,
        web_ui=False,
    )
    facts = parse_facts("cpu-server", (RECORDED / "cpu-server.txt").read_text())
    choice = choose_variant(host, facts)
    assert (choice.source, choice.system) == (LlamaSource.NIXPKGS, "x86_64-linux")
    assert any("knows no MPI" in warning for warning in choice.warnings)
    assert any("web interface" in warning for warning in choice.warnings)


def test_extreme_cpu_names_the_features_of_this_cpu() -> None:
    """The features come from /proc/cpuinfo, never from a builder's -march=native."""
    zen4 = choose("cpu-server", "extreme-cpu").cpu_features
    assert {"AVX2", "FMA", "AVX512", "AVX512_BF16"} <= set(zen4)
    assert "AVX_VNNI" not in zen4
    alder_lake = choose("intel-iris-xe", "extreme-cpu").cpu_features
    assert "AVX_VNNI" in alder_lake
    assert not any(name.startswith("AVX512") for name in alder_lake)


def test_extreme_cpu_without_a_known_feature_equals_cpu() -> None:
    """On aarch64 there is nothing to switch on, which is said."""
    choice = choose("aarch64-server", "extreme-cpu")
    assert choice.cpu_features == ()
    assert choice.warnings == ("no CPU feature to switch on is known here: the build equals cpu",)


def test_a_misspelt_variant_is_suggested() -> None:
    """The error names what was probably meant."""
    with pytest.raises(PlanError, match="no variant is called 'vulcan'") as caught:
        choose("cpu-server", "vulcan")
    assert "vulkan" in caught.value.hint


def test_integrated_gpus_are_not_rocm_targets() -> None:
    """The laptops' and desktops' own GPUs go to Vulkan."""
    assert not {"gfx1035", "gfx1036", "gfx1103", "gfx1150", "gfx1151"} & ROCM_TARGETS
