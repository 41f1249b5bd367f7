"""What can be sent now for a run as it stands: builds, steps of hosts, reboots. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.model.journal import Step, StepKey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from orchestrator.deploy.rollout.host_run import HostRun
    from orchestrator.deploy.rollout.run import Run
    from orchestrator.model.plan import Plan


def next_steps(run: Run) -> tuple[StepKey, ...]:
    """Return the steps that can be sent now and weren't yet, whether it is paused or not."""
    steps = tuple(_host_steps(run))
    reboots = [key.subject for key in steps if key.step is Step.REBOOT]
    return (
        *_builds(run),
        *(key for key in steps if key.step is not Step.REBOOT),
        *_reboots(run, reboots),
    )


def _builds(run: Run) -> Iterator[StepKey]:
    for build in run.plan.builds:
        needed = not all(name in run.left_alone for name in build.hosts)
        unsent = run.build_record(build.derivation) is None
        if unsent and needed and run.is_build_done(build.depends_on):
            yield StepKey(Step.BUILD, build.derivation)


def _host_steps(run: Run) -> Iterator[StepKey]:
    for host in run.hosts.values():
        step = host.next_step
        if step is None or host.left_alone:
            continue
        if not host.begins_next or host.name in run.may_begin:
            yield host.key(step)


def _reboots(run: Run, waiting: Sequence[str]) -> Iterator[StepKey]:
    """Let those of the waiting hosts reboot that leave their groups a host in service.

    In a group one reboots at a time, while another one is neither changing nor lost.
    """
    if not waiting:
        return
    groups = run.plan.reboots.shared_groups
    down = {host.name for host in run.moving if host.phase.in_transition or host.phase.is_lost}
    # A host that only waits for this runs its new system.
    down = (down | run.plan.unreachable.keys()) - set(waiting)
    in_service = {group: set(members) - down for group, members in groups.items()}
    rebooting = {host.name for host in run.moving if host.is_at(Step.REBOOT)}
    busy = {group for group, members in groups.items() if not rebooting.isdisjoint(members)}
    for name in waiting:
        mine = [group for group, members in groups.items() if name in members]
        if any(group in busy or _is_last(name, in_service[group]) for group in mine):
            continue
        busy.update(mine)
        for group in mine:
            in_service[group].discard(name)
        yield StepKey(Step.REBOOT, name)


def reboot_refusals(plan: Plan, hosts: Collection[HostRun]) -> dict[str, str]:
    """Return which of a plan's hosts have confirmed and won't reboot in this run, and why."""
    waiting = [host for host in hosts if host.awaits_reboot]
    refusals = {host.name: "the run was cancelled" for host in waiting if host.is_cancelled}
    if len(refusals) == len(waiting):
        return refusals
    lost = {host.name for host in hosts if host.moves and host.is_lost}
    lost |= plan.unreachable.keys()
    for group, members in plan.reboots.shared_groups.items():
        in_service = members - lost
        for host in waiting:
            if host.name in members and _is_last(host.name, in_service):
                refusals.setdefault(host.name, f"no other host of {group} is in service")
    return refusals


def _is_last(name: str, in_service: Collection[str]) -> bool:
    """Whether nothing is left in service without this host."""
    return len(in_service) - (name in in_service) == 0
