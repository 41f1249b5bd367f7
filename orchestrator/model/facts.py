"""What a machine is, as it said itself at the time of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.model.boot_part import BootPart
from orchestrator.model.store import StorePath


class GpuVendor(StrEnum):
    """Who made a display device, by its PCI vendor id."""

    NVIDIA = "nvidia"
    AMD = "amd"
    INTEL = "intel"
    VIRTUAL = "virtual"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class PciDisplay:
    """A PCI device of class 03 (display controller), as sysfs names it."""

    address: str
    vendor: GpuVendor
    vendor_id: str
    device_id: str
    driver: str


@dataclass(frozen=True, slots=True)
class NvidiaGpu:
    """One line of `nvidia-smi --query-gpu`: the loaded driver answers for it."""

    name: str
    driver: str
    compute_capability: str
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Facts:
    """One host's hardware and system, read in one ssh round trip.

    Sizes are MiB. Paths are None if the host has none (a machine that isn't
    NixOS yet has no running system). `model_files` lists the files that an
    earlier run left in the model directory, as `name:bytes`. `booted_parts` is
    where the booted system's kernel, initrd and modules are. `has_system_shell` is whether
    the system that a rollback leads to has a shell of its own, and so the programs beside it.
    `nix_version`, `virtualization` and `system_features` are empty if it was looked at as
    a target.
    """

    host: str
    system: str
    kernel: str
    boot_id: str
    nix_version: str
    nixos_version: str
    running_system: StorePath | None
    booted_system: StorePath | None
    boot_default: StorePath | None
    cpu_model: str
    cpu_flags: tuple[str, ...]
    cpu_count: int
    memory_mib: int
    memory_available_mib: int
    store_free_mib: int
    virtualization: str
    pci_displays: tuple[PciDisplay, ...]
    nvidia_gpus: tuple[NvidiaGpu, ...]
    kfd_gfx_targets: tuple[str, ...]
    vulkan_devices: tuple[str, ...]
    system_features: tuple[str, ...]
    has_systemd_run: bool
    nixos_rebuild: StorePath | None
    has_system_shell: bool
    llama_cli: str
    model_files: tuple[str, ...]
    load_average: float
    booted_parts: dict[BootPart, StorePath] = field(default_factory=dict)
    inhibitors: dict[str, str] = field(default_factory=dict)
    goes_back_to: StorePath | None = None
    failed_units: tuple[str, ...] = ()
