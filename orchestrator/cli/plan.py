"""`orchestrate plan`: what a deployment would do, and why; nothing is touched."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from orchestrator.cli import options
from orchestrator.cli.render.tables import failure_lines
from orchestrator.deploy.prepare.prepare import new_run_id, prepare
from orchestrator.deploy.prepare.survey import SurveyContext
from orchestrator.model.plan import Action
from orchestrator.model.store import store_name
from orchestrator.stages.plan.reboot_need import reboot_note
from orchestrator.transport.connect import connections

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.ledger import Ledger
    from orchestrator.model.plan import Build, Goal, HostPlan, Plan
    from orchestrator.model.policy import Policy


@options.command(
    "plan",
    options.TARGET,
    options.LIMIT,
    options.SERIAL,
    options.inputs(),
    options.AGAIN,
    options.RETRY_FAILED,
    options.JSON,
)
def command(invocation: Invocation) -> int:
    """Show each host's variant and why, what is built where, and the batches."""
    plan = asyncio.run(_plan(invocation))
    click.echo(
        msgspec.json.encode(as_data(plan)).decode() if invocation.as_json else describe(plan)
    )
    return 3 if plan.unreachable or plan.blocked or plan.failed else 0


def _ledger(invocation: Invocation) -> Ledger:
    # Only a plan that has something to build pays for redis and a server.
    from orchestrator.cli.broker import ledger_of  # noqa: PLC0415

    return ledger_of(invocation)


async def _plan(invocation: Invocation) -> Plan:
    async with connections() as pool:
        context = SurveyContext(
            run=new_run_id(),
            inventory=invocation.inventory,
            pool=pool,
            workspace=invocation.workspace,
            on_event=lambda _: None,
            update_inputs=invocation.update_inputs,
            read_ledger=partial(_ledger, invocation),
            retry_failed=invocation.retry_failed,
        )
        plan, _ = await prepare(context, invocation.hosts)
        return plan


def as_data(plan: Plan) -> dict[str, Any]:
    """Return what `--json` prints: the plan, by names that scripts may rely on."""
    data: dict[str, Any] = msgspec.to_builtins(plan)
    for host in data["hosts"]:
        host["host"] = host.pop("target")
    for build in data["builds"]:
        build["after"] = build.pop("depends_on")
    return data


def describe(plan: Plan) -> str:
    """Render a plan for a reader."""
    lines = [line for host in plan.hosts for line in _host_lines(host, plan.goal)]
    if plan.builds:
        lines += ["", "builds"]
        lines += [line for build in plan.builds for line in _build_lines(build)]
    if plan.has_work:
        lines += ["", "batches", *_batch_lines(plan)]
    left_out = {**plan.unreachable, **plan.blocked, **plan.failed}
    if left_out:
        lines += ["", "left out"]
        lines += [f"  {line}" for left in left_out.values() for line in failure_lines(left)]
    if not plan.has_work:
        lines += ["", "nothing to do"]
    return "\n".join(lines)


def _host_lines(host: HostPlan, goal: Goal) -> list[str]:
    what = "unchanged"
    if host.action is Action.DEPLOY:
        what = f"deploy in batch {host.batch + 1}"
    lines = [
        f"{host.name}: {host.choice.variant}, {what}",
        f"  why      {host.choice.reason}",
        f"  runs     {host.facts.running_system or 'no NixOS system yet'}",
        f"  becomes  {host.evaluation.toplevel}",
    ]
    reboots = reboot_note(host, goal)
    lines += [f"  reboot   {reboots}"] if reboots else []
    return [*lines, *(f"  warning  {text}" for text in (*host.choice.warnings, *host.notes))]


def _batch_lines(plan: Plan) -> list[str]:
    moving = [host for host in plan.hosts if host.action is Action.DEPLOY]
    batches: dict[int, list[str]] = {}
    for host in sorted(moving, key=lambda host: host.batch):
        name = f"{host.name} (canary)" if host.canary else host.name
        batches.setdefault(host.batch, []).append(name)
    lines = [f"  {number + 1}  {', '.join(names)}" for number, names in batches.items()]
    return [*lines, *(f"  {rule}" for rule in _rules(plan.policy))]


def _rules(policy: Policy) -> list[str]:
    """Render in words what holds the run back."""
    rules = []
    if policy.batch_pause:
        rules.append(f"between batches: {policy.batch_pause:g} s")
    rules += [
        f"out of service at a time: {cap.most} of {cap.group} ({', '.join(cap.hosts)})"
        for cap in policy.caps
    ]
    limits = {"failed hosts": policy.max_failures, "unreachable hosts": policy.max_unreachable}
    limits |= {
        f"failed {variant} hosts": most for variant, most in policy.max_failures_per_variant.items()
    }
    rules += [f"{what}: {most} at most" for what, most in limits.items() if most is not None]
    return rules


def _build_lines(build: Build) -> list[str]:
    return [
        f"  {store_name(build.output)} on {build.builder}, for {', '.join(build.hosts)}",
        f"    why    {build.reason}",
    ]
