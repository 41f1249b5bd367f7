"""Ask a machine what it is: one script, one round trip, one frozen value.

`facts.sh`, beside this file, answers in key=value lines; here they are read. What a
host prints is not trusted: it is bounded, and checked before anything uses it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

import msgspec

from orchestrator.command import Command
from orchestrator.errors import PayloadError
from orchestrator.model.boot_part import BootPart
from orchestrator.model.facts import Facts, GpuVendor, NvidiaGpu, PciDisplay
from orchestrator.model.stage import Stage
from orchestrator.model.store import parse_store_path, store_path_around
from orchestrator.scripts import parse_answer, sent, words_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.model.store import StorePath
    from orchestrator.transport.shell import Shell


_T = TypeVar("_T")

# Far above any machine: 512 CPUs with their flags print 4 KiB, as do eight GPUs.
_LONGEST_TEXT = 256 * 1024
_LONGEST_LINE = 8 * 1024
_MOST_LINES_PER_KEY = 256
_LONGEST_QUOTE = 120

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SYSTEM = re.compile(r"[a-z0-9_]+-[a-z]+", re.ASCII)
# 10^15 MiB is about a zebibyte, and int() of a long text takes quadratic time.
_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
_LOAD = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}", re.ASCII)
_BOOT_ID = re.compile(r"[0-9a-f-]{36}", re.ASCII)
_GFX = re.compile(r"gfx[0-9]{1,3}[0-9a-f]{2}", re.ASCII)
_PCI = re.compile(
    r"(?P<address>[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"
    r" 0x(?P<vendor>[0-9a-f]{4}) 0x(?P<device>[0-9a-f]{4}) (?P<driver>[\w-]+)",
    re.ASCII,
)
_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]", re.ASCII)
_MODEL_FILE = re.compile(r"[A-Za-z0-9._+-]{1,255}:[0-9]{1,15}", re.ASCII)
_NVIDIA_COLUMNS = 4

# The PCI ID Repository (pci.ids). The virtual ones are the adapters of QEMU
# (virtio, QXL, standard VGA), VMware, VirtualBox and Hyper-V.
_VENDORS = {
    "10de": GpuVendor.NVIDIA,
    "1002": GpuVendor.AMD,
    "8086": GpuVendor.INTEL,
    "1af4": GpuVendor.VIRTUAL,
    "1b36": GpuVendor.VIRTUAL,
    "1234": GpuVendor.VIRTUAL,
    "15ad": GpuVendor.VIRTUAL,
    "80ee": GpuVendor.VIRTUAL,
    "1414": GpuVendor.VIRTUAL,
}


async def gather_facts(shell: Shell, *, as_target: bool = False) -> Facts:
    """Run the script on the host behind `shell` and read what it prints.

    Args:
        shell: the host.
        as_target: leave out what only a builder is asked for, and what only a user
            wants to see: Nix's version and features, the virtualization.

    Raises:
        CommandError: no shell ran there, or not within 30 seconds.
        PayloadError: what it printed is incomplete or malformed.
        UnreachableError: the host could not be connected to.
    """
    result = await shell.run(facts_command("target" if as_target else "any"))
    return parse_facts(shell.host, result.check(Stage.FACTS, "the facts could not be read").stdout)


def facts_command(role: str) -> Command:
    """Build the command that asks; the script is read from standard input.

    It is the first thing that a host is asked, and the command line goes through a login
    shell that nothing is known of: the less it is given to parse, the better.
    """
    name = "stages/facts/facts.sh"
    words = words_for(name, (), {"role": role})
    return Command(("sh", "-s", "--", *words), stdin=sent(name).encode(), timeout=30.0)


def parse_facts(host: str, text: str) -> Facts:
    """Read what `facts.sh` printed on `host`.

    Lines that aren't the script's (a login shell's greeting) and unknown keys (a newer
    script's) are skipped; everything else must be as the script writes it.

    Raises:
        PayloadError: it is cut off, malformed or larger than any machine's.
    """
    reader = _Reader(host, text)
    return Facts(
        host=host,
        system=reader.matching("system", _SYSTEM),
        kernel=reader.text("kernel", required=True),
        boot_id=reader.matching("boot_id", _BOOT_ID),
        nix_version=reader.text("nix_version"),
        nixos_version=reader.text("nixos_version"),
        running_system=reader.store_path("running_system"),
        booted_system=reader.store_path("booted_system"),
        boot_default=reader.store_path("boot_default"),
        failed_units=reader.each("failed_unit", str),
        goes_back_to=reader.store_path("goes_back_to"),
        cpu_model=reader.text("cpu_model"),
        cpu_flags=tuple(reader.text("cpu_flags").split()),
        cpu_count=reader.number("cpu_count"),
        memory_mib=reader.number("memory_mib"),
        memory_available_mib=reader.number("memory_available_mib"),
        store_free_mib=reader.number("store_free_mib"),
        virtualization=reader.text("virtualization"),
        pci_displays=reader.each("pci_display", _pci_display),
        nvidia_gpus=reader.each("nvidia_gpu", _nvidia_gpu),
        kfd_gfx_targets=reader.each("kfd_gfx_target", _gfx_target),
        vulkan_devices=reader.each("vulkan_device", str),
        system_features=tuple(reader.text("system_features").split()),
        has_systemd_run=reader.text("has_systemd_run") == "1",
        nixos_rebuild=reader.store_path("nixos_rebuild"),
        has_system_shell=reader.text("has_system_shell") == "1",
        llama_cli=reader.text("llama_cli"),
        model_files=reader.each("model_file", _model_file),
        load_average=reader.load("load_average"),
        booted_parts=dict(reader.each("booted_part", _booted_part)),
        inhibitors=_inhibitors(reader.text("switch_inhibitors")),
    )


class _Reader:
    """The lines of one host's facts by key, with errors that name host and line."""

    def __init__(self, host: str, text: str) -> None:
        self._host = host
        if len(text) > _LONGEST_TEXT:
            raise self._error(message=f"more than {_LONGEST_TEXT // 1024} KiB of facts", line=text)
        answer = parse_answer(text)
        if answer.end is None:
            raise self._error(message="the facts are cut off", line=text[-_LONGEST_QUOTE:])
        self._values: dict[str, list[str]] = {}
        for key, value in answer.pairs:
            line = f"{key}={value}"
            if len(line) > _LONGEST_LINE or _CONTROL.search(line):
                raise self._error(
                    message="a line that is too long or has control characters", line=line
                )
            values = self._values.setdefault(key, [])
            values.append(value)
            if len(values) > _MOST_LINES_PER_KEY:
                raise self._error(
                    message=f"more than {_MOST_LINES_PER_KEY} lines of {key}", line=line
                )

    def _error(self, *, message: str, line: str) -> PayloadError:
        return PayloadError(
            message=f"{message}, in {line[:_LONGEST_QUOTE]!r}",
            hint=f"see what its login shell prints: ssh {self._host} true",
            host=self._host,
            stage=Stage.FACTS,
        )

    def text(self, key: str, *, required: bool = False) -> str:
        """Return the value of a key that may occur once; empty if it is absent."""
        values = self._values.get(key, [])
        if len(values) > 1:
            raise self._error(
                message=f"{key} occurs {len(values)} times", line=f"{key}={values[1]}"
            )
        if required and not any(values):
            raise self._error(message=f"the fact {key} is missing", line=f"{key}=")
        return values[0] if values else ""

    def matching(self, key: str, pattern: re.Pattern[str]) -> str:
        """Return a required value of a known shape."""
        value = self.text(key, required=True)
        if not pattern.fullmatch(value):
            raise self._error(message=f"{key} is malformed", line=f"{key}={value}")
        return value

    def number(self, key: str) -> int:
        """Return a required number without sign."""
        return int(self.matching(key, _NUMBER))

    def load(self, key: str) -> float:
        """Return a required load average."""
        return float(self.matching(key, _LOAD))

    def store_path(self, key: str) -> StorePath | None:
        """Return a store path, or None if the host has no such system."""
        value = self.text(key)
        return self._parsed(key, value, parse_store_path) if value else None

    def each(self, key: str, parse: Callable[[str], _T]) -> tuple[_T, ...]:
        """Return all values of a key that may repeat."""
        return tuple(self._parsed(key, value, parse) for value in self._values.get(key, []))

    def _parsed(self, key: str, value: str, parse: Callable[[str], _T]) -> _T:
        try:
            return parse(value)
        except PayloadError as error:
            raise self._error(message=f"{key}: {error.message}", line=f"{key}={value}") from error


def _pci_display(text: str) -> PciDisplay:
    """Read `0000:01:00.0 0x10de 0x2684 nvidia`; `-` is a device without a driver."""
    match = _PCI.fullmatch(text)
    if match is None:
        message = "not a PCI device as sysfs names it"
        raise PayloadError(message)
    return PciDisplay(
        address=match["address"],
        vendor=_VENDORS.get(match["vendor"], GpuVendor.OTHER),
        vendor_id=match["vendor"],
        device_id=match["device"],
        driver="" if match["driver"] == "-" else match["driver"],
    )


def _nvidia_gpu(text: str) -> NvidiaGpu:
    """Read `NVIDIA GeForce RTX 4090, 580.65.06, 8.9, 24564`.

    Where the driver does not know it prints `[N/A]` or `[Not Supported]`: the
    memory of a GPU that shares its host's, then 0, or a capability, then empty.
    """
    columns = [column.strip() for column in text.split(",")]
    if len(columns) != _NVIDIA_COLUMNS:
        message = f"{len(columns)} columns instead of {_NVIDIA_COLUMNS}"
        raise PayloadError(message)
    name, driver, capability, memory = columns
    return NvidiaGpu(
        name=name,
        driver=driver,
        compute_capability=capability if _CAPABILITY.fullmatch(capability) else "",
        memory_mib=int(memory) if _NUMBER.fullmatch(memory) else 0,
    )


def _gfx_target(text: str) -> str:
    """Read the compiler's name of an AMD GPU, such as gfx90a."""
    if not _GFX.fullmatch(text):
        message = "not a gfx target"
        raise PayloadError(message)
    return text


def _booted_part(text: str) -> tuple[BootPart, StorePath]:
    """Read `kernel /nix/store/…-linux-6.12.30/bzImage`."""
    name, _, file = text.partition(" ")
    if name not in set(BootPart):
        message = "not a part of a booted system"
        raise PayloadError(message)
    return BootPart(name), store_path_around(file)


def _inhibitors(text: str) -> dict[str, str]:
    """Read the JSON of a system's switch inhibitors; other text is as if there were none."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, str])
    except msgspec.DecodeError:
        return {}


def _model_file(text: str) -> str:
    """Read `name:bytes`."""
    if not _MODEL_FILE.fullmatch(text):
        message = "not a file name and a size"
        raise PayloadError(message)
    return text
