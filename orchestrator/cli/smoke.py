"""`orchestrate smoke`: let the llama-cli that runs now answer, and change nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click
import msgspec

from orchestrator.cli import options
from orchestrator.cli.consent import ask_become_password
from orchestrator.cli.render.tables import failure_lines
from orchestrator.command import printable
from orchestrator.errors import OrchestrateError
from orchestrator.model.guard import Guard
from orchestrator.stages.facts.facts import gather_facts
from orchestrator.stages.smoke.model import deliver_model, model_path, read_model
from orchestrator.stages.smoke.smoke import SmokeTest, run_smoke
from orchestrator.stages.variant.variant import choose_variant
from orchestrator.transport.connect import connections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Host
    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.report import SmokeReport
    from orchestrator.transport.connect import ConnectionPool


@options.command("smoke", options.TARGET, options.ASK_BECOME_PASS, options.JSON)
def command(invocation: Invocation) -> int:
    """Run the smoke test on each host's installed llama-cli.

    The backend must be the one of the variant that the hardware asks for.
    """
    hosts = invocation.hosts
    ask_become_password(invocation, for_workers=False)
    answers = asyncio.run(_smoke_all(hosts))
    for host, answer in answers.items():
        if invocation.as_json:
            click.echo(msgspec.json.encode(as_data(host, answer)).decode())
        else:
            click.echo(describe(answer))
    return 0 if all(_passed(answer) for answer in answers.values()) else 3


def as_data(host: str, answer: SmokeReport | OrchestrateError) -> dict[str, Any]:
    """Return what `--json` prints of a host: its report, or why there is none.

    `failure` is a text in both cases; `error` is there if the test could not run.
    """
    if isinstance(answer, OrchestrateError):
        return {"host": host, "passed": False, "failure": str(answer), "error": answer.failure}
    report: dict[str, Any] = msgspec.to_builtins(answer)
    return report


async def _smoke_all(hosts: Sequence[Host]) -> dict[str, SmokeReport | OrchestrateError]:
    async with connections() as pool:

        async def one(host: Host) -> SmokeReport | OrchestrateError:
            try:
                return await _smoke_one(pool, host)
            except OrchestrateError as error:
                return error

        answers = await asyncio.gather(*(one(host) for host in hosts))
    return {host.name: answer for host, answer in zip(hosts, answers, strict=True)}


async def _smoke_one(pool: ConnectionPool, host: Host) -> SmokeReport:
    shell = await pool.shell(host)
    variant = choose_variant(host, await gather_facts(shell)).variant
    model = read_model(model_path(host.smoke))
    await deliver_model(shell, model, lambda _: None)
    # Nothing was switched: whatever it answers, the host stays as it is.
    return await run_smoke(shell, model, SmokeTest(host.smoke, variant.backend), Guard.NONE)


def _passed(answer: SmokeReport | OrchestrateError) -> bool:
    return not isinstance(answer, OrchestrateError) and answer.passed


def describe(report: SmokeReport | OrchestrateError) -> str:
    """Render one host's smoke test for a reader."""
    if isinstance(report, OrchestrateError):
        return "\n".join(failure_lines(report.failure))
    if not report.passed:
        lines = (
            f"{report.host}: smoke test: {report.failure}",
            *(f"  | {x}" for x in report.last_lines),
        )
        return "\n".join(map(printable, lines))
    used = f"{report.backend} ({report.device})" if report.device else f"{report.backend}"
    return f"{report.host}: {used}, {report.tokens_per_second} tokens/s: {report.text!r}"
