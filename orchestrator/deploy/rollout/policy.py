"""Which hosts may begin now, and which are left alone: from a run's policy and their states.

Pure: time comes in as an argument. A host that is left alone stays so, because what
leads to it only ever grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

from orchestrator.model.event import BatchPause, BudgetSpent
from orchestrator.model.plan import HostPlan
from orchestrator.model.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from orchestrator.model.plan import Package
    from orchestrator.model.policy import Policy


class Phase(StrEnum):
    """Where a moving host stands; the first two and the last two are on its old system."""

    WAITING = "waiting"
    READY = "ready"
    CHANGING = "changing"
    GOING_BACK = "going back"
    DEPLOYED = "deployed"
    ROLLED_BACK = "rolled back"
    OUT_OF_SERVICE = "out of service"
    FAILED = "failed before it changed"
    UNREACHABLE = "unreachable before it changed"

    @property
    def has_begun(self) -> bool:
        """Whether its system was changed, or is being changed."""
        return not (self.is_untouched or self in (Phase.FAILED, Phase.UNREACHABLE))

    @property
    def is_untouched(self) -> bool:
        """Whether it may still begin."""
        return self in (Phase.WAITING, Phase.READY)

    @property
    def in_transition(self) -> bool:
        """Whether its system is being changed."""
        return self in (Phase.CHANGING, Phase.GOING_BACK)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return not (self.is_untouched or self.in_transition)

    @property
    def has_failed(self) -> bool:
        """Whether it counts against a budget of failures."""
        return self in (Phase.FAILED, Phase.GOING_BACK, Phase.ROLLED_BACK, Phase.OUT_OF_SERVICE)

    @property
    def is_lost(self) -> bool:
        """Whether it is out of service, and this run won't bring it back."""
        return self in (Phase.OUT_OF_SERVICE, Phase.UNREACHABLE)


@dataclass(frozen=True, slots=True)
class HostState:
    """One moving host: its part of the plan, its phase, when its last step ended.

    `ended_at` is in seconds of the journal's clock, 0 if no step has ended.
    `refutes` says that its smoke test spoke against its llama package itself.
    """

    host: HostPlan
    phase: Phase
    ended_at: float = 0.0
    refutes: bool = False

    @property
    def name(self) -> str:
        """The inventory name."""
        return self.host.name


@dataclass(frozen=True, slots=True)
class Decision:
    """Which hosts may begin to change now, or after a pause; which are left alone, and why.

    `notices` are to be shown to people.
    """

    may_begin: frozenset[str] = frozenset()
    left_alone: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[BudgetSpent | BatchPause, ...] = ()
    paused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Spent:
    """A budget that is used up: whose rest is left alone, None for all, and why."""

    variant: Variant | None
    subject: str
    why: str


def decide(
    policy: Policy, standings: Iterable[HostState], unreachable: Collection[str], now: float
) -> Decision:
    """Decide which hosts begin.

    Args:
        policy: the run's.
        standings: every moving host, in the plan's order.
        unreachable: the hosts that did not answer when the plan was made.
        now: seconds of the journal's clock; infinity for what comes in the end.
    """
    # Sorting keeps the plan's order within a batch.
    ordered = sorted(standings, key=lambda one: one.host.batch)
    spent = _spent(policy, ordered, unreachable)
    left_alone = _left_alone(policy, ordered, spent, unreachable)
    told = [
        BudgetSpent(budget.subject, budget.why)
        for budget in spent
        if any(why.startswith(budget.why) for why in left_alone.values())
    ]
    batch = _turn(ordered, left_alone)
    begin = _beginners(policy, ordered, batch, left_alone, unreachable)
    pause = _pause(policy, ordered, batch, now)
    if pause is not None:
        return Decision(frozenset(), left_alone, (*told, pause), paused=begin)
    return Decision(begin, left_alone, tuple(told))


def _spent(
    policy: Policy, ordered: Sequence[HostState], unreachable: Collection[str]
) -> list[_Spent]:
    """Return which budgets are exceeded, as Ansible's `max_fail_percentage`: not just reached."""
    failed = [one.host.choice.variant for one in ordered if one.phase.has_failed]
    lost = sum(one.phase is Phase.UNREACHABLE for one in ordered) + len(unreachable)
    found = []
    if _exceeds(len(failed), policy.max_failures):
        why = f"more hosts failed than orchestrate_max_failures allows ({policy.max_failures})"
        found.append(_Spent(None, "failures", why))
    if _exceeds(lost, policy.max_unreachable):
        why = (
            "more hosts are unreachable than orchestrate_max_unreachable allows"
            f" ({policy.max_unreachable})"
        )
        found.append(_Spent(None, "unreachable", why))
    for variant, limit in policy.max_failures_per_variant.items():
        if _exceeds(failed.count(variant), limit):
            why = (
                f"more {variant} hosts failed than orchestrate_max_failures_per_variant allows"
                f" ({limit})"
            )
            found.append(_Spent(variant, variant, why))
    return found


def _exceeds(count: int, limit: int | None) -> bool:
    return limit is not None and count > limit


def _left_alone(
    policy: Policy,
    ordered: Sequence[HostState],
    spent: Sequence[_Spent],
    unreachable: Collection[str],
) -> dict[str, str]:
    """Return the hosts that won't begin any more, and why."""
    failed_packages = _failed_packages(policy, ordered)
    lost = {*unreachable, *(one.name for one in ordered if one.phase.is_lost)}
    failed_batch: int | None = None
    no_room = _no_room(policy, lost)
    found: dict[str, str] = {}
    for number, batch in groupby(ordered, key=lambda one: one.host.batch):
        hosts = list(batch)
        for one in hosts:
            if not one.phase.is_untouched:
                continue
            tried_by = failed_packages.get(one.host.package)
            if tried_by is not None:
                variant = one.host.choice.variant
                found[one.name] = f"{tried_by} failed with the same {variant} package" + _ALONE
            elif why := _budget_of(one, spent) or no_room.get(one.name, ""):
                found[one.name] = why + _ALONE
            elif failed_batch is not None:
                found[one.name] = (
                    f"every host of batch {failed_batch + 1} failed,"
                    f" so batch {number + 1} was left alone"
                )
        if failed_batch is None and _is_failed(policy, hosts, found):
            failed_batch = number
    return found


_ALONE = ", so it was left alone"


def _failed_packages(policy: Policy, ordered: Iterable[HostState]) -> dict[Package, str]:
    """Name, for each package that no host has proven, the one that failed with it.

    Without canaries it takes a smoke test that speaks against the package itself,
    which is quarantined then.
    """
    failed: dict[Package, str] = {}
    proven = _proven(ordered)
    for one in ordered:
        counts = policy.canary or one.refutes
        failed_at = counts and one.phase.has_begun and one.phase.has_failed
        if failed_at and one.host.package not in proven:
            failed.setdefault(one.host.package, one.name)
    return failed


def _proven(ordered: Iterable[HostState]) -> set[Package]:
    return {one.host.package for one in ordered if one.phase is Phase.DEPLOYED}


def _budget_of(one: HostState, spent: Iterable[_Spent]) -> str:
    mine = (None, one.host.choice.variant)
    return next((budget.why for budget in spent if budget.variant in mine), "")


def _no_room(policy: Policy, lost: Collection[str]) -> dict[str, str]:
    """Return the hosts that can't leave service because others are lost for good, and why."""
    found: dict[str, str] = {}
    for cap in policy.caps:
        down = [host for host in cap.hosts if host in lost]
        if len(down) >= cap.most:
            why = (
                f"{', '.join(down)} of {cap.group} out of service already, and"
                f" orchestrate_max_unavailable allows {cap.most}"
            )
            found |= dict.fromkeys((name for name in cap.hosts if name not in found), why)
    return found


class _Room:
    """How many hosts each cap still lets leave service."""

    def __init__(self, policy: Policy, unavailable: Collection[str]) -> None:
        """Begin with the hosts that are out of service or changing already."""
        self._left = [
            cap.most - sum(name in unavailable for name in cap.hosts) for cap in policy.caps
        ]
        self._caps: dict[str, list[int]] = {}
        for number, cap in enumerate(policy.caps):
            for name in cap.hosts:
                self._caps.setdefault(name, []).append(number)

    def take(self, name: str) -> bool:
        """Let a host leave service; False if a cap that it is under has no room for it."""
        mine = self._caps.get(name, ())
        if any(self._left[number] <= 0 for number in mine):
            return False
        for number in mine:
            self._left[number] -= 1
        return True


def _is_failed(policy: Policy, batch: Sequence[HostState], left_alone: Collection[str]) -> bool:
    """Whether a batch has ended without any good host, which ends the run.

    As Ansible's `serial` has it ("Controlling playbook execution"). Without
    batches, failed canaries end no more than their own packages.
    """
    failed = [one for one in batch if one.phase.has_failed or one.phase is Phase.UNREACHABLE]
    if policy.contains_canaries and all(one.host.canary for one in failed):
        return False
    ended = all(one.phase.has_ended or one.name in left_alone for one in batch)
    good = any(one.phase is Phase.DEPLOYED for one in batch)
    return bool(failed) and ended and not good


def _turn(ordered: Iterable[HostState], left_alone: Collection[str]) -> int | None:
    """Return the batch whose turn it is: the first that has not ended."""
    for one in ordered:
        if not one.phase.has_ended and one.name not in left_alone:
            return one.host.batch
    return None


def _pause(
    policy: Policy, ordered: Sequence[HostState], batch: int | None, now: float
) -> BatchPause | None:
    """Return the pause before the batch whose turn it is, while it lasts."""
    if batch is None or any(one.phase.has_begun for one in ordered if one.host.batch == batch):
        return None
    ends = [one.ended_at for one in ordered if one.host.batch < batch and one.phase.has_begun]
    if not ends or now >= max(ends) + policy.batch_pause:
        return None
    return BatchPause(batch, policy.batch_pause)


def _beginners(
    policy: Policy,
    ordered: Sequence[HostState],
    batch: int | None,
    left_alone: Collection[str],
    unreachable: Collection[str],
) -> frozenset[str]:
    """Choose, in the plan's order, the hosts that begin and break no limit nor a canary's wait."""
    unavailable = {
        *unreachable,
        *(one.name for one in ordered if one.phase.in_transition or one.phase.is_lost),
    }
    room = _Room(policy, unavailable)
    proven = _proven(ordered)
    tried = {one.host.package for one in ordered if one.phase.has_begun}
    begin: set[str] = set()
    for one in ordered:
        if one.host.batch != batch or not one.phase.is_untouched or one.name in left_alone:
            continue
        package = one.host.package
        if policy.canary and package not in proven:
            if package in tried:
                continue
            # One that is still being copied to is its package's canary all the same.
            tried.add(package)
        if one.phase is Phase.READY and room.take(one.name):
            begin.add(one.name)
    return frozenset(begin)
