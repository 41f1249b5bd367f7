"""A run as it stands: all that a driver decides by, and all that can be shown of it. Pure.

It is made anew from the journal at each look, and answers everything from that one
look. What is asked of it is worked out at the first question, and once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.deploy.rollout.host_run import HostRun
from orchestrator.deploy.rollout.next_steps import next_steps, reboot_refusals
from orchestrator.deploy.rollout.policy import Decision, decide
from orchestrator.model.journal import Control, Step, StepKey, StepRecord, StepState
from orchestrator.model.plan import Plan
from orchestrator.model.report import HostResult, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.model.event import BatchPause, BudgetSpent
    from orchestrator.model.plan import HostPlan
    from orchestrator.model.store import DerivationPath
    from orchestrator.state.journal import RunState

_CANCELLED = "the run was cancelled"


# Without slots: the decision is made once, if at all.
@dataclass(frozen=True)
class Run:
    """A run as it stands.

    Args:
        plan: what it is to do.
        records: which steps were sent, and where they stand.
        control: what the user asked of it, if anything.
        now: when that was, in seconds of the journal's clock; infinity for what
            comes in the end.
        later: the hosts that a later run has taken since, each with that run.
    """

    plan: Plan
    records: Mapping[StepKey, StepRecord]
    control: Control | None = None
    now: float = math.inf
    later: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, seen: RunState, later: Mapping[str, str] | None = None) -> Run:
        """Return the run of `plan` as its journal was seen, and the hosts' locks."""
        plan = plan.with_previous(seen.previous)
        return cls(plan, seen.records, seen.control, seen.now, later or {})

    def without(self, keys: Iterable[StepKey]) -> Run:
        """Return the same run as if these steps had never been sent."""
        gone = frozenset(keys)
        left = {key: record for key, record in self.records.items() if key not in gone}
        return replace(self, records=left) if gone else self

    @property
    def is_cancelled(self) -> bool:
        """Whether it was cancelled: no host begins, those that have begun go on to an end."""
        return self.control is Control.CANCEL

    @property
    def is_paused(self) -> bool:
        """Whether it is paused: what hosts are in the middle of goes on."""
        return self.control is Control.PAUSE

    def host(self, name: str) -> HostRun:
        """Return how far the host called `name` has come.

        Raises:
            KeyError: the plan has no such host.
        """
        return self.hosts[name]

    @cached_property
    def hosts(self) -> Mapping[str, HostRun]:
        """Every host of the plan, in its order."""
        going = self._hosts_with_builds_going
        return {
            name: replace(host, left_alone=why, build_goes_on=name in going)
            if (why := self.left_alone.get(name))
            else host
            for name, host in self._undecided.items()
        }

    @property
    def moving(self) -> Iterator[HostRun]:
        """The hosts that change in this run."""
        return (host for host in self.hosts.values() if host.moves)

    @cached_property
    def left_alone(self) -> Mapping[str, str]:
        """The hosts that won't begin any more, and why."""
        later = {
            name: f"superseded by run {run}, which began later and has taken it since"
            for name, run in self.superseded.items()
        }
        return {**self._decision.left_alone, **later}

    @property
    def may_begin(self) -> frozenset[str]:
        """The hosts that may leave their old systems now."""
        return self._decision.may_begin - self.superseded.keys()

    @cached_property
    def superseded(self) -> Mapping[str, str]:
        """The hosts that have not begun here and that a later run has taken, with that run.

        To go on with them would put an older configuration over a newer one. One that
        has begun is for whoever holds its lock to decide on.
        """
        return {
            name: run
            for name, run in self.later.items()
            if name in self._undecided and not self._undecided[name].phase.has_begun
        }

    @property
    def notices(self) -> tuple[BudgetSpent | BatchPause, ...]:
        """What holds hosts back, to be reported once."""
        return self._decision.notices

    @cached_property
    def next_steps(self) -> tuple[StepKey, ...]:
        """The steps that can be sent now and weren't yet."""
        if not self.is_paused:
            return self._possible_steps
        return tuple(key for key in self._possible_steps if not key.step.begins_something)

    @property
    def is_finished(self) -> bool:
        """Whether nothing runs and nothing more can be sent, now or after a pause."""
        waits = self._possible_steps or self._decision.paused
        return not waits and all(record.state.is_final for record in self.records.values())

    @cached_property
    def results(self) -> dict[str, HostResult]:
        """Every host's end, in the plan's order, those that were left out last."""
        found = {name: host.result for name, host in self.hosts.items()}
        left_out = (
            (Outcome.UNREACHABLE, self.plan.unreachable),
            (Outcome.SKIPPED, self.plan.blocked),
            (Outcome.FAILED, self.plan.failed),
        )
        for outcome, hosts in left_out:
            found |= {
                name: HostResult(outcome, message=failure.message, failure=failure)
                for name, failure in hosts.items()
            }
        return found

    @property
    def settled(self) -> Iterator[HostRun]:
        """The hosts that have settled, while others may go on."""
        return (host for host in self.hosts.values() if host.is_settled)

    @property
    def settled_results(self) -> dict[str, HostResult]:
        """The ends of the hosts that have settled."""
        return {host.name: host.result for host in self.settled}

    def build_record(self, derivation: DerivationPath) -> StepRecord | None:
        """Return where a build stands; None if it was never sent."""
        return self._builds.get(derivation)

    def is_build_done(self, derivation: DerivationPath | None) -> bool:
        """Whether a build has ended well; None needs no build."""
        if derivation is None:
            return True
        record = self.build_record(derivation)
        return record is not None and record.state is StepState.DONE

    def failed_build(self, derivation: DerivationPath | None) -> StepRecord | None:
        """Return the failure that keeps a derivation from being built: its own or an earlier one's.

        None if nothing does.
        """
        wanted = derivation if self._failed_builds else None
        while wanted is not None:
            if wanted in self._failed_builds:
                return self._failed_builds[wanted]
            wanted = self.plan.build_before(wanted)
        return None

    @cached_property
    def _builds(self) -> dict[str, StepRecord]:
        return {
            key.subject: record for key, record in self.records.items() if key.step is Step.BUILD
        }

    @cached_property
    def _failed_builds(self) -> dict[str, StepRecord]:
        failed = StepState.FAILED
        return {name: record for name, record in self._builds.items() if record.state is failed}

    @cached_property
    def _steps(self) -> dict[str, dict[Step, StepRecord]]:
        """The steps of each host that were sent."""
        found: dict[str, dict[Step, StepRecord]] = {}
        for key, record in self.records.items():
            if key.step is not Step.BUILD:
                found.setdefault(key.subject, {})[key.step] = record
        return found

    @cached_property
    def _possible_steps(self) -> tuple[StepKey, ...]:
        return next_steps(self)

    @cached_property
    def _decision(self) -> Decision:
        """Ask the run's policy which hosts may begin and which are left alone."""
        later = self.superseded
        moving = (host for host in self._undecided.values() if host.moves)
        states = [host.state for host in moving if host.name not in later]
        if self.is_cancelled:
            waiting = [state.name for state in states if not state.phase.has_begun]
            return Decision(left_alone=dict.fromkeys(waiting, _CANCELLED))
        if not self.plan.goal.changes_hosts:
            return Decision()
        return decide(self.plan.policy, states, self.plan.unreachable, self.now)

    @cached_property
    def _undecided(self) -> dict[str, HostRun]:
        """The hosts as their own steps and builds have them, before the policy is asked."""
        hosts = {host.name: self._host(host) for host in self.plan.hosts}
        for name, why in reboot_refusals(self.plan, hosts.values()).items():
            hosts[name] = replace(hosts[name], reboot_refusal=why)
        return hosts

    def _host(self, host: HostPlan) -> HostRun:
        return HostRun(
            plan=host,
            goal=self.plan.goal,
            way=self.plan.way_of(host),
            records=self._steps.get(host.name, {}),
            is_built=self.is_build_done(host.awaited),
            failed_build=self.failed_build(host.awaited),
            is_cancelled=self.is_cancelled,
        )

    @cached_property
    def _hosts_with_builds_going(self) -> frozenset[str]:
        """The hosts of builds that run, or that will because hosts that go on need them."""
        found: set[str] = set()
        for build in self.plan.builds:
            record = self.build_record(build.derivation)
            needed = not all(name in self.left_alone for name in build.hosts)
            if needed if record is None else not record.state.is_final:
                found.update(build.hosts)
        return frozenset(found)
