"""What a machine says of itself is read whole, or refused."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.errors import CommandError, PayloadError
from orchestrator.model.boot_part import BootPart
from orchestrator.model.facts import GpuVendor
from orchestrator.stages.facts.facts import facts_command, gather_facts, parse_facts
from orchestrator.transport.shell import LocalShell

RECORDED = Path(__file__).parent / "recorded"
NAMES = sorted(file.stem for file in RECORDED.glob("*.txt"))
CPU_SERVER = (RECORDED / "cpu-server.txt").read_text()
END = "orchestrate:exit=0"


def with_facts(*facts: str) -> str:
    """Give a server's facts, and these in addition."""
    lines = "".join(f"orchestrate:{fact}\n" for fact in facts)
    return CPU_SERVER.replace(END, f"{lines}{END}")


def sent(old: str = "", new: str = "") -> str:
    """Give the script as it is sent, with a text in it replaced."""
    text = (facts_command("any").stdin or b"").decode()
    return text.replace(old, new) if old else text


ARGUMENTS = facts_command("any").argv[1:]


def run_script(*shell: str, path: str | None = None) -> str:
    """Run the real script on this machine."""
    environment = os.environ | ({} if path is None else {"PATH": path})
    done = subprocess.run(
        [*shell, *ARGUMENTS],
        input=sent(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=environment,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
def test_script_describes_this_machine(shell: str) -> None:
    """The script runs on this machine, whose kernel says the same."""
    program, *arguments = shell.split()
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    facts = parse_facts("here", run_script(found, *arguments))
    assert facts.kernel == os.uname().release
    assert facts.system.startswith(os.uname().machine)
    assert facts.cpu_count == os.cpu_count()
    assert 0 < facts.memory_available_mib <= facts.memory_mib
    assert facts.store_free_mib > 0
    assert facts.cpu_flags


def test_script_needs_no_program_at_all(tmp_path: Path) -> None:
    """With nothing on PATH but what cuts the text, the script still ends well."""
    for name in ("tr", "uname"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    script = sent("/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", str(tmp_path))
    done = subprocess.run(
        ["/bin/sh", *ARGUMENTS],
        input=script,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": str(tmp_path)},
    )
    assert done.stdout.startswith("orchestrate:system=")
    assert done.stdout.endswith(f"{END}\n")
    assert "virtualization" not in done.stdout


def fake_tool(directory: Path, name: str, body: str) -> None:
    """Put a program in front of PATH."""
    file = directory / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)


def test_script_reads_what_the_tools_print(tmp_path: Path) -> None:
    """nvidia-smi, vulkaninfo and nix become facts."""
    fake_tool(tmp_path, "nvidia-smi", "echo 'NVIDIA GeForce RTX 4090, 580.65.06, 8.9, 24564'")
    fake_tool(tmp_path, "vulkaninfo", r"printf '\tdeviceName         = AMD Radeon (RADV)\n'")
    fake_tool(
        tmp_path,
        "nix",
        'case $* in --version) echo "nix (Nix) 2.18.9";; *"config show"*) exit 1;; '
        '*show-config) echo "system-features = big-parallel cuda";; esac',
    )
    facts = parse_facts("here", run_script("sh", path=f"{tmp_path}:{os.environ['PATH']}"))
    assert facts.nvidia_gpus[0].compute_capability == "8.9"
    assert facts.vulkan_devices == ("AMD Radeon (RADV)",)
    assert facts.nix_version == "2.18.9"
    assert facts.system_features == ("big-parallel", "cuda")


def test_script_takes_no_complaint_for_a_gpu(tmp_path: Path) -> None:
    """An nvidia-smi without its driver complains on stdout; that is no GPU."""
    complaint = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    fake_tool(tmp_path, "nvidia-smi", f'echo "{complaint}"; exit 9')
    facts = parse_facts("here", run_script("sh", path=f"{tmp_path}:{os.environ['PATH']}"))
    assert facts.nvidia_gpus == ()


def test_script_does_not_wait_for_a_hanging_driver(tmp_path: Path) -> None:
    """A tool that hangs costs five seconds, not the deployment."""
    fake_tool(tmp_path, "nvidia-smi", "exec sleep 120")
    facts = parse_facts("here", run_script("sh", path=f"{tmp_path}:{os.environ['PATH']}"))
    assert facts.nvidia_gpus == ()


def test_script_strips_control_characters(tmp_path: Path) -> None:
    """A device's name can't move a terminal's cursor."""
    fake_tool(tmp_path, "vulkaninfo", r"printf 'deviceName = \033[2Jevil\n'")
    text = run_script("sh", path=f"{tmp_path}:{os.environ['PATH']}")
    assert "\x1b" not in text
    assert parse_facts("here", text).vulkan_devices == ("[2Jevil",)


@pytest.mark.parametrize(("online", "count"), [("0", 1), ("0-3,6,8-9", 7), ("0-127", 128)])
def test_script_counts_processors_as_the_kernel_lists_them(
    tmp_path: Path, online: str, count: int
) -> None:
    """Ranges and single processors are counted; those that are offline are not."""
    listed = tmp_path / "online"
    listed.write_text(f"{online}\n")
    script = sent("/sys/devices/system/cpu/online", str(listed))
    done = subprocess.run(
        ["sh", *ARGUMENTS], input=script, capture_output=True, text=True, check=True
    )
    assert parse_facts("here", done.stdout).cpu_count == count


def test_script_counts_processors_where_nothing_lists_them(tmp_path: Path) -> None:
    """Without sysfs each processor's own paragraph counts."""
    script = sent("/sys/devices/system/cpu/online", str(tmp_path / "none"))
    done = subprocess.run(
        ["sh", *ARGUMENTS], input=script, capture_output=True, text=True, check=True
    )
    assert parse_facts("here", done.stdout).cpu_count == os.cpu_count()


def test_gather_runs_the_script_through_a_shell() -> None:
    """One round trip through the transport gives the facts of the host behind it."""
    facts = asyncio.run(gather_facts(LocalShell()))
    assert facts.host == "controller"
    assert facts.kernel == os.uname().release


def test_gather_reports_a_host_without_sh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that runs no sh is named, with the command to try."""
    fake_tool(tmp_path, "sh", "echo no shell for you >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(CommandError) as caught:
        asyncio.run(gather_facts(LocalShell()))
    assert (caught.value.host, caught.value.stage) == ("controller", "facts")
    assert caught.value.last_lines == ("no shell for you",)


@pytest.mark.parametrize("name", NAMES)
def test_recorded_facts_are_read(name: str) -> None:
    """Every recorded machine is read, under the name that asked."""
    facts = parse_facts(name, (RECORDED / f"{name}.txt").read_text())
    assert facts.host == name
    assert facts.memory_mib > 0


def test_every_field_is_read() -> None:
    """What the script prints for a server ends up in the right fields."""
    facts = parse_facts("nitrogen", CPU_SERVER)
    assert facts.running_system == facts.booted_system == facts.boot_default
    assert str(facts.running_system).endswith("-nixos-system-cpu-server-25.11")
    assert facts.llama_cli == "/run/current-system/sw/bin/llama-cli"
    assert facts.model_files == ("tiny.gguf:118400",)
    assert facts.load_average == pytest.approx(0.42)
    assert facts.has_systemd_run
    assert str(facts.nixos_rebuild).endswith("-nixos-rebuild-ng-26.11")


def test_the_booted_parts_are_store_paths() -> None:
    """A kernel is a file in one, modules are one; what the host has none of is absent."""
    linux, modules = f"/nix/store/{'a' * 32}-linux-6.12", f"/nix/store/{'b' * 32}-modules"
    said = (f"booted_part=kernel {linux}/bzImage", f"booted_part=kernel-modules {modules}")
    facts = parse_facts("x", with_facts(*said))
    assert facts.booted_parts == {BootPart.KERNEL: linux, BootPart.KERNEL_MODULES: modules}
    assert parse_facts("x", CPU_SERVER).booted_parts == {}


def test_pci_vendors_are_known() -> None:
    """NVIDIA and AMD devices are told apart, a missing driver is empty."""
    text = with_facts("pci_display=0000:01:00.0 0x10de 0x2684 -")
    (card,) = parse_facts("x", text).pci_displays
    assert (card.vendor, card.device_id, card.driver) == (GpuVendor.NVIDIA, "2684", "")


def test_unknown_keys_and_greetings_are_skipped() -> None:
    """A newer script's keys and a login shell's greeting change nothing."""
    text = "Welcome to carbon!\x07\n" + with_facts("moon_phase=full")
    assert parse_facts("x", text) == parse_facts("x", CPU_SERVER)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (END, "", "cut off"),
        (END, "orchestrate:exit=1", "cut off"),
        ("kernel=6.12.41", "kernel=", "kernel is missing"),
        ("memory_mib=64206", "memory_mib=-1", "memory_mib is malformed"),
        ("memory_mib=64206", f"memory_mib={'9' * 5000}", "memory_mib is malformed"),
        ("memory_mib=64206", "memory_mib=٣", "memory_mib is malformed"),
        ("memory_mib=64206", "memory_mib=1\norchestrate:memory_mib=2", "occurs 2 times"),
        ("load_average=0.42", "load_average=nan", "load_average is malformed"),
        ("system=x86_64-linux", "system=x86_64 linux", "system is malformed"),
        ("running_system=/nix/store", "running_system=/tmp", "running_system"),
        ("kernel=6.12.41", "kernel=\x1b[2J", "control characters"),
        ("kernel=6.12.41", "rubbish", "kernel is missing"),
        (END, f"orchestrate:kfd_gfx_target=gfx11;rm\n{END}", "not a gfx target"),
        (END, f"orchestrate:pci_display=all of them\n{END}", "not a PCI device"),
        (END, f"orchestrate:nvidia_gpu=RTX, 580\n{END}", "2 columns"),
        (END, f"orchestrate:model_file=../../etc/passwd:1\n{END}", "not a file name"),
        (END, f"orchestrate:booted_part=kernel /boot/vmlinuz\n{END}", "expected a store path"),
        (
            END,
            f"orchestrate:booted_part=kernel /nix/store/{'a' * 32}-x y\n{END}",
            "expected a store",
        ),
        (END, f"orchestrate:booted_part=disk /nix/store/{'a' * 32}-x\n{END}", "not a part"),
        (END, "orchestrate:vulkan_device=x\n" * 300 + END, "more than 256"),
        (END, "orchestrate:x=" + "y" * 9000 + f"\n{END}", "too long"),
        (END, "orchestrate:x=y\n" * 100_000 + END, "more than 256 KiB"),
    ],
)
def test_malformed_facts_are_refused(old: str, new: str, says: str) -> None:
    """What is wrong is refused with the host, the stage and the line, at bounded length."""
    with pytest.raises(PayloadError, match=says) as caught:
        parse_facts("carbon", CPU_SERVER.replace(old, new))
    assert (caught.value.host, caught.value.stage) == ("carbon", "facts")
    assert len(str(caught.value)) < 1000
    assert "\x1b" not in str(caught.value)


@given(st.text(max_size=500))
def test_hostile_output_is_refused_or_read(text: str) -> None:
    """Whatever stands among them, the reader answers with facts or a PayloadError."""
    try:
        facts = parse_facts("x", CPU_SERVER.replace(END, f"orchestrate:{text}\n{END}"))
    except PayloadError:
        return
    assert dataclasses.is_dataclass(facts)


@given(st.integers(min_value=0, max_value=len(CPU_SERVER) - 1))
@example(length=len(END))
def test_a_truncated_output_is_never_taken_for_whole(length: int) -> None:
    """Facts that were cut off anywhere are refused."""
    cut = CPU_SERVER[:length]
    if cut.endswith(END):
        return
    with pytest.raises(PayloadError):
        parse_facts("x", cut)
