"""`orchestrate facts`: the hardware and system of each host."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click
import msgspec

from orchestrator.cli import options
from orchestrator.cli.render.tables import failure_lines
from orchestrator.errors import OrchestrateError
from orchestrator.stages.facts.facts import gather_facts
from orchestrator.transport.connect import connections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Host
    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.facts import Facts


@options.command("facts", options.TARGET, options.JSON)
def command(invocation: Invocation) -> int:
    """Look at the hardware and the system of each host."""
    hosts = invocation.hosts
    answers = asyncio.run(gather(hosts))
    for host, answer in zip(hosts, answers, strict=True):
        if invocation.as_json:
            click.echo(msgspec.json.encode(as_data(host.name, answer)).decode())
        elif isinstance(answer, OrchestrateError):
            click.echo("\n".join(failure_lines(answer.failure)), err=True)
        else:
            click.echo(describe(answer))
    return 3 if any(isinstance(answer, OrchestrateError) for answer in answers) else 0


def as_data(host: str, answer: Facts | OrchestrateError) -> dict[str, Any]:
    """Return what `--json` prints of a host: its facts, or why they aren't known."""
    if isinstance(answer, OrchestrateError):
        return {"host": host, "error": str(answer), "failure": answer.failure}
    facts: dict[str, Any] = msgspec.to_builtins(answer)
    return facts


async def gather(hosts: Sequence[Host]) -> list[Facts | OrchestrateError]:
    """Read every host's facts, or the error in their place, in the order of `hosts`."""
    async with connections() as pool:

        async def one(host: Host) -> Facts | OrchestrateError:
            try:
                return await gather_facts(await pool.shell(host))
            except OrchestrateError as error:
                return error

        return await asyncio.gather(*(one(host) for host in hosts))


def describe(facts: Facts) -> str:
    """Render one host's facts for a reader."""
    gpus = [f"{gpu.name} (compute {gpu.compute_capability})" for gpu in facts.nvidia_gpus]
    gpus += list(facts.kfd_gfx_targets)
    gpus = gpus or [f"{pci.vendor} {pci.device_id} ({pci.driver})" for pci in facts.pci_displays]
    back = f"{facts.goes_back_to}, for no run has confirmed what it runs"
    failed = (("failed", ", ".join(facts.failed_units)),) if facts.failed_units else ()
    unconfirmed = (("back to", back),) if facts.goes_back_to else ()
    rows = (
        ("system", f"{facts.system}, kernel {facts.kernel}, Nix {facts.nix_version}"),
        ("runs", facts.running_system or "no NixOS system yet"),
        *unconfirmed,
        ("boots", facts.boot_default or "nothing of ours"),
        ("CPU", f"{facts.cpu_count} x {facts.cpu_model}"),
        ("memory", f"{facts.memory_mib} MiB, {facts.memory_available_mib} MiB free"),
        ("store", f"{facts.store_free_mib} MiB free"),
        ("GPU", ", ".join(gpus) or "none"),
        ("Vulkan", ", ".join(facts.vulkan_devices) or "no device"),
        ("features", ", ".join(facts.system_features)),
        *failed,
    )
    lines = [facts.host, *(f"  {name:<9}{value}" for name, value in rows)]
    return "\n".join(lines)
