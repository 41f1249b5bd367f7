"""What a reboot is needed for, known of a system before it is built. Pure.

The same rule as boot_state.sh's, which asks the host once it has the system: a part is
another one if the new system's link leads to another store path than the link in
the system that was booted. The report after the copy decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inventory.host import RebootPolicy
from orchestrator.model.boot_part import BootPart
from orchestrator.model.event import RebootNeeded
from orchestrator.model.plan import Action, Goal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.model.facts import Facts
    from orchestrator.model.plan import Evaluation, HostPlan, Plan


@dataclass(frozen=True, slots=True)
class RebootNeed:
    """The parts that differ from what is booted, and those of which that isn't known."""

    changed: tuple[BootPart, ...] = ()
    unknown: tuple[BootPart, ...] = ()


def reboot_need(facts: Facts, evaluation: Evaluation) -> RebootNeed:
    """Compare what a host has booted with what it is to become.

    A host that booted no NixOS system needs nothing, as far as anybody can say.
    """
    if facts.booted_system is None:
        return RebootNeed()
    new, booted = evaluation.boot_parts, facts.booted_parts
    return RebootNeed(
        changed=tuple(part for part in BootPart if part in new and new[part] != booted.get(part)),
        unknown=tuple(part for part in BootPart if part in booted and part not in new),
    )


def reboot_note(host: HostPlan, goal: Goal, *, allowed: bool | None = None) -> str:
    """Say what a host needs a reboot for and what comes of that; empty if it needs none.

    Args:
        host: its part of the plan.
        goal: the run's.
        allowed: whether it may reboot in this run; None if only the inventory
            has been asked.
    """
    said = []
    if host.reboot_for:
        one = len(host.reboot_for) == 1 and host.reboot_for[0] is not BootPart.KERNEL_MODULES
        changes = "changes" if one else "change"
        what = f"the {_listed(host.reboot_for)} {changes}"
        said.append(f"{what}; {_consequence(host, goal, allowed=allowed)}")
    if host.reboot_unknown:
        what = f"whether the {_listed(host.reboot_unknown)} change"
        said.append(f"{what} is known after the copy")
    return "; ".join(said)


def reboots_needed(plan: Plan) -> list[tuple[str, RebootNeeded]]:
    """Return each changing host that needs a reboot, with what that comes to in this run."""
    found = []
    for host in plan.hosts:
        note = reboot_note(host, plan.goal, allowed=host.name in plan.reboots.hosts)
        if note and host.action is Action.DEPLOY:
            found.append((host.name, RebootNeeded(host.reboot_for, host.reboot_unknown, note)))
    return found


def _consequence(host: HostPlan, goal: Goal, *, allowed: bool | None) -> str:
    policy = host.target.reboot
    if host.action is Action.UNCHANGED:
        return "it still waits for a reboot"
    if goal is not Goal.SWITCH:
        return _OTHER_GOALS[goal]
    if host.inhibited_by:
        return "the reboot by which it gets its new system brings that too"
    if allowed is False or policy is RebootPolicy.NEVER:
        return f"it needs a reboot, which is left to you ({_DENIED[policy]})"
    if allowed or policy is RebootPolicy.IF_NEEDED:
        return "it reboots after its confirmation"
    return "it reboots after its confirmation if you allow it (orchestrate_reboot: ask)"


_OTHER_GOALS = {
    Goal.BUILD: "it will need a reboot",
    Goal.BOOT: "the next boot, which is left to you, brings both these and the rest",
    Goal.TEST: "they are in use after a reboot only, and that ends the test",
    Goal.DRY_ACTIVATE: "it would need a reboot",
}


_DENIED = {
    RebootPolicy.NEVER: "orchestrate_reboot: never",
    RebootPolicy.ASK: "orchestrate_reboot: ask, and the answer was not yes",
    RebootPolicy.IF_NEEDED: "--no-reboot",
}


def _listed(parts: Sequence[BootPart]) -> str:
    *first, last = (part.label for part in parts)
    return f"{', the '.join(first)} and the {last}" if first else last
