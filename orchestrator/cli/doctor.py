"""`orchestrate doctor`: is everything there that a deployment needs?"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from orchestrator.cli import options
from orchestrator.cli.broker import open_broker
from orchestrator.errors import OrchestrateError
from orchestrator.stages.facts.facts import gather_facts
from orchestrator.stages.privilege import require_root
from orchestrator.stages.smoke.model import model_path, read_model
from orchestrator.transport.connect import connections

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inventory.host import Host
    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.facts import Facts
    from orchestrator.transport.connect import ConnectionPool

_LOW_STORE_MIB = 5 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what, whether it is well, and what to do if not."""

    what: str
    well: bool
    detail: str


@options.command("doctor", options.BROKER)
def command(invocation: Invocation) -> int:
    """Check the controller, the broker, and every host; change nothing."""
    findings = [*_here(invocation), *asyncio.run(_everywhere(invocation.inventory.hosts))]
    for finding in findings:
        click.echo(f"{'ok  ' if finding.well else 'FAIL'}  {finding.what}: {finding.detail}")
    failed = sum(not finding.well for finding in findings)
    count = len(findings)
    click.echo(f"{failed} of {count} checks failed" if failed else f"{count} checks passed")
    return 2 if failed else 0


def _here(invocation: Invocation) -> list[Finding]:
    inventory = invocation.inventory
    flake = inventory.fleet.flake
    nix = shutil.which("nix")
    builders = ", ".join(host.name for host in inventory.builders)
    return [
        Finding("inventory", well=True, detail=f"{len(inventory.hosts)} hosts in {inventory.path}"),
        Finding("flake", flake is not None, flake or "set orchestrate_flake in all's vars"),
        Finding("builders", bool(builders), builders or "give a host orchestrate_builder"),
        Finding("evaluation", bool(nix or builders), nix or "no nix here: on a builder"),
        _try("broker", lambda: _broker(invocation)),
        *(
            _try("smoke test model", partial(_model, path))
            for path in sorted({model_path(host.smoke) for host in inventory.targets})
        ),
    ]


def _broker(invocation: Invocation) -> str:
    with open_broker(invocation):
        return invocation.broker or "a private one starts"


def _model(path: Path) -> str:
    return f"{path}, {read_model(path).size} bytes"


def _try(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, well=True, detail=look())
    except OrchestrateError as error:
        return Finding(what, well=False, detail=str(error))


async def _everywhere(hosts: tuple[Host, ...]) -> list[Finding]:
    async with connections() as pool:
        found = await asyncio.gather(*(_host(pool, host) for host in hosts))
    return [finding for findings in found for finding in findings]


async def _host(pool: ConnectionPool, host: Host) -> list[Finding]:
    try:
        shell = await pool.shell(host)
        facts = await gather_facts(shell)
    except OrchestrateError as error:
        return [Finding(host.name, well=False, detail=str(error))]
    findings = [Finding(host.name, well=True, detail=f"answers, Nix {facts.nix_version}")]
    privilege = f"{host.name} privilege"
    try:
        await require_root(shell, "doctor")
        findings.append(Finding(privilege, well=True, detail="root"))
    except OrchestrateError as error:
        findings.append(Finding(privilege, well=False, detail=str(error)))
    return [*findings, _store(host, facts), *_builder(host, facts)]


def _store(host: Host, facts: Facts) -> Finding:
    roomy = facts.store_free_mib >= _LOW_STORE_MIB
    advice = "" if roomy else ": make room with nix-collect-garbage -d"
    return Finding(f"{host.name} store", roomy, f"{facts.store_free_mib} MiB free{advice}")


def _builder(host: Host, facts: Facts) -> list[Finding]:
    if host.builder is None:
        return []
    lacking = sorted(set(host.builder.features) - set(facts.system_features))
    advice = f"its nix.conf lacks system-features: {', '.join(lacking)}"
    return [Finding(f"{host.name} features", not lacking, advice if lacking else "as declared")]
