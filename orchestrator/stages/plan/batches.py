"""Batches: who moves after whom, whose package is tried first, which limits hold. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from inventory.rollout import count_of
from orchestrator.model.plan import Action
from orchestrator.model.policy import Cap, Policy, Reboots

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from inventory.host import Host, Inventory
    from inventory.rollout import Rollout, Size
    from orchestrator.model.plan import HostPlan, Package


def in_batches(hosts: Sequence[HostPlan], rollout: Rollout) -> tuple[HostPlan, ...]:
    """Return each moving host its batch, and mark the canaries; the order stays.

    Groups in `rollout.order` go one after another, what is in none of them last,
    and the serial begins anew with each, as for a play of Ansible's per group.
    """
    moving = [host for host in hosts if host.action is Action.DEPLOY]
    proven: set[Package] = set()
    placed: dict[str, HostPlan] = {}
    for rank in range(len(rollout.order) + 1):
        group = [host for host in moving if _rank(host.target, rollout.order) == rank]
        first = max((host.batch for host in placed.values()), default=-1) + 1
        batches = batches_of(group, rollout.serial, proven if rollout.canary else None)
        for number, batch in enumerate(batches, first):
            placed |= {host.name: replace(host, batch=number) for host in batch}
    return tuple(placed.get(host.name, host) for host in hosts)


def _rank(host: Host, order: Sequence[str]) -> int:
    """Return the place of the first named group that a host is in."""
    mine = {"all", *(host.groups or ("ungrouped",))}
    return next((rank for rank, name in enumerate(order) if name in mine), len(order))


def batches_of(
    hosts: Sequence[HostPlan], serial: Sequence[Size], proven: set[Package] | None
) -> list[list[HostPlan]]:
    """Divide hosts into batches, in their order.

    As Ansible's `serial` ("Controlling playbook execution: strategies and more",
    "Setting the batch size with serial"): numbers, or percentages of all the
    hosts, rounded down and never none; the last one repeated until no host is
    left. A host whose package nobody in an earlier batch has waits for its
    canary, so that a batch may be smaller than asked for.

    Args:
        hosts: all of them move.
        serial: the sizes.
        proven: the packages that have had a canary, added to; None if nobody
            waits for one.
    """
    sizes = [count_of(size, len(hosts), least=1) for size in serial]
    waiting = list(hosts)
    batches: list[list[HostPlan]] = []
    while waiting:
        size = sizes[min(len(batches), len(sizes) - 1)]
        batch = waiting[:size] if proven is None else _with_canaries(waiting, size, proven)
        taken = {host.name for host in batch}
        waiting = [host for host in waiting if host.name not in taken]
        batches.append(batch)
    return batches


def _with_canaries(waiting: Sequence[HostPlan], size: int, proven: set[Package]) -> list[HostPlan]:
    """Take a batch of which no host is of the package of a canary in it."""
    batch: list[HostPlan] = []
    tried: set[Package] = set()
    for host in waiting:
        if len(batch) == size:
            break
        if host.package in tried:
            continue
        if host.package in proven:
            batch.append(host)
        else:
            tried.add(host.package)
            batch.append(replace(host, canary=True))
    proven |= tried
    return batch


def policy_of(
    hosts: Sequence[HostPlan], inventory: Inventory, unreachable: Collection[str]
) -> Policy:
    """Turn the inventory's settings into the numbers of this run.

    Failures are counted out of the hosts that move, unreachable ones out of
    those and themselves, a group's unavailable ones out of all its targets.

    Args:
        hosts: the run's.
        inventory: the settings, and the groups.
        unreachable: the run's other hosts.
    """
    rollout = inventory.fleet.rollout
    moving = [host for host in hosts if host.action is Action.DEPLOY]
    variants = Counter(host.choice.variant for host in moving)
    per_variant = rollout.max_failures_per_variant
    return Policy(
        serial=rollout.serial,
        canary=rollout.canary,
        batch_pause=rollout.batch_pause,
        caps=_caps(inventory),
        max_failures=_number(rollout.max_failures, len(moving)),
        max_failures_per_variant={
            variant: count_of(per_variant, count)
            for variant, count in variants.items()
            if per_variant is not None
        },
        max_unreachable=_number(rollout.max_unreachable, len(moving) + len(unreachable)),
    )


def _caps(inventory: Inventory) -> tuple[Cap, ...]:
    targets = [host.name for host in inventory.targets]
    caps = []
    for group, size in inventory.fleet.rollout.max_unavailable.items():
        members = inventory.groups.get(group, ())
        hosts = tuple(name for name in targets if name in members)
        if hosts:
            caps.append(Cap(group, hosts, count_of(size, len(hosts), least=1)))
    return tuple(caps)


def reboots_of(inventory: Inventory, may_reboot: Sequence[str]) -> Reboots:
    """Return the hosts that may reboot, and the targets of every group that they are in."""
    targets = {host.name: host.groups or ("ungrouped",) for host in inventory.targets}
    wanted = dict.fromkeys(group for name in may_reboot for group in targets.get(name, ()))
    groups = {
        group: tuple(name for name, mine in targets.items() if group in mine) for group in wanted
    }
    return Reboots(tuple(may_reboot), groups)


def _number(size: Size | None, whole: int) -> int | None:
    return None if size is None else count_of(size, whole)
