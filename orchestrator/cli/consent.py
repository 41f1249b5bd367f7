"""What a command asks its user before it begins, and warns of."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from inventory.host import RebootPolicy
from orchestrator.cli.render.tables import change
from orchestrator.command import printable
from orchestrator.errors import UsageError
from orchestrator.model.plan import Action, Goal
from orchestrator.transport.become import remember_typed

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation
    from orchestrator.model.plan import HostPlan, Plan

_MOST_NAMED = 30
"""Hosts that a question names one by one, so that it fits on a screen."""


def ask_before(invocation: Invocation) -> tuple[str, ...]:
    """Ask for what a run needs of its user; return the hosts that may reboot in it.

    Raises:
        UsageError: an answer is missing, or is asked for in vain.
    """
    ask_become_password(invocation)
    if not invocation.check_signatures:
        click.echo(
            "orchestrate: --no-check-sigs: the targets take closures that no key vouches for",
            err=True,
        )
    return ask_for_reboots(invocation)


def ask_to_begin(plan: Plan, invocation: Invocation) -> None:
    """Show which hosts a run changes, and ask once whether it may begin.

    It asks on a terminal. Without one there is no answer to wait for: whether `--yes` is
    needed there for more than one host is a matter of configuration.

    Raises:
        UsageError: the answer is no, or is missing.
    """
    moving = [host for host in plan.hosts if host.action is Action.DEPLOY]
    if not moving or not plan.goal.changes_hosts or invocation.yes:
        return
    if not sys.stdin.isatty():
        if invocation.configuration.ask == "always" and len(moving) > 1:
            raise UsageError(
                message=f"{len(moving)} hosts would change, and there is no terminal to ask on",
                hint="pass --yes (orchestrate.toml: ask = always); nothing was changed",
            )
        return
    click.echo("\n".join(changes(plan)), err=True)
    if not click.confirm("Begin?", err=True):
        raise UsageError(message="it was not agreed to: nothing was changed")


def changes(plan: Plan) -> list[str]:
    """Render which hosts a run changes, from which system to which. Pure."""
    moving = [host for host in plan.hosts if host.action is Action.DEPLOY]
    left_out = {**plan.unreachable, **plan.blocked, **plan.failed}
    total = len(plan.hosts) + len(left_out)
    what = "to go back" if any(host.goes_back for host in moving) else "to change"
    lines = [f"hosts {what}: {len(moving)} of {total}"]
    lines += [f"  {_change_of(host, plan)}" for host in moving[:_MOST_NAMED]]
    if len(moving) > _MOST_NAMED:
        lines.append(f"  and {len(moving) - _MOST_NAMED} more (orchestrate plan names all)")
    lines += [f"  left out: {name}: {failure.message}" for name, failure in left_out.items()]
    return [printable(line) for line in lines]


def _change_of(host: HostPlan, plan: Plan) -> str:
    what = f"{host.name}: {host.choice.variant}, {change(host.previous, host.evaluation.toplevel)}"
    reboots = host.name in plan.reboots.hosts and (host.reboot_for or host.inhibited_by)
    return f"{what}, reboots" if reboots else what


def ask_become_password(invocation: Invocation, *, for_workers: bool = True) -> None:
    """Ask for sudo's password, if the invocation says so.

    It is typed on a terminal, or is the first line of standard input.

    Args:
        invocation: the command's.
        for_workers: whether workers need it, and not just this process.

    Raises:
        UsageError: there is none, or workers elsewhere would need it.
    """
    if not invocation.ask_become_password:
        return
    if for_workers and invocation.broker is not None:
        raise UsageError(
            message="--ask-become-pass: what is typed here can't reach the workers of a cluster",
            hint="set orchestrate_become_password_file or orchestrate_become_password_command,"
            " which each worker reads on its own host",
        )
    if sys.stdin.isatty():
        password = click.prompt("password for sudo", hide_input=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise UsageError(
            message="--ask-become-pass: there is no password on standard input",
            hint="type it on a terminal, or pipe it in",
        )
    remember_typed(password)


def ask_for_reboots(invocation: Invocation) -> tuple[str, ...]:
    """Name the hosts that may reboot in this run: by the inventory, an option, an answer.

    The question comes before the run begins, which then needs no answer any more. If
    there is no terminal to ask on, hosts whose policy is `ask` don't reboot.

    Raises:
        UsageError: reboots are asked for with a goal that has none.
    """
    if invocation.reboot and invocation.goal is not Goal.SWITCH:
        raise UsageError(
            message=f"--reboot: goal {invocation.goal} reboots no host",
            hint="only a system that has passed its smoke test is rebooted: leave --goal out, or"
            " reboot by hand and run `orchestrate smoke`",
        )
    if invocation.goal is not Goal.SWITCH or invocation.reboot is False:
        return ()
    hosts = invocation.hosts
    asking = [host.name for host in hosts if host.reboot is RebootPolicy.ASK]
    granted = bool(invocation.reboot)
    if asking and invocation.reboot is None:
        names = ", ".join(asking)
        if sys.stdin.isatty():
            question = f"May these reboot after their confirmation, if that is needed: {names}?"
            granted = click.confirm(question, err=True)
        else:
            refusal = "will not reboot (no terminal to ask on); pass --reboot to allow it"
            click.echo(f"orchestrate: {names}: {refusal}", err=True)
    allowed = {RebootPolicy.IF_NEEDED, *([RebootPolicy.ASK] if granted else [])}
    return tuple(host.name for host in hosts if host.reboot in allowed)
