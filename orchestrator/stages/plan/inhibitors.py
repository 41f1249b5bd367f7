"""What NixOS says must not change by a switch, known of a system before it is built. Pure.

NixOS compares system.switch.inhibitors of the running system with those of the new one in
a check before the switch (switchable-system.nix, since 26.05), and refuses it: an example
is the change from dbus to dbus-broker. The new system then comes by a reboot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inventory.host import RebootPolicy
from orchestrator.command import printable
from orchestrator.errors import PlanError
from orchestrator.model.plan import Goal
from orchestrator.model.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Collection

    from inventory.host import Host
    from orchestrator.model.facts import Facts
    from orchestrator.model.plan import Evaluation


def inhibited_by(facts: Facts, evaluation: Evaluation) -> tuple[str, ...]:
    """Name what both systems have and have otherwise, as NixOS's check does."""
    old, new = facts.inhibitors, evaluation.inhibitors
    both = sorted(old.keys() & new.keys())
    changed = (f"{name}: {old[name]} -> {new[name]}" for name in both if old[name] != new[name])
    return tuple(map(printable, changed))


def inhibited(
    host: Host,
    facts: Facts,
    evaluation: Evaluation,
    goal: Goal,
    may_reboot: Collection[str] | None,
) -> PlanError | None:
    """Refuse a host whose switch NixOS would refuse, unless it may reboot instead.

    Args:
        host: as the inventory has it.
        facts: what it runs.
        evaluation: what it would get.
        goal: the run's.
        may_reboot: the hosts that may reboot in this run; None if nobody was asked
            yet, so that the inventory alone says it.
    """
    changes = inhibited_by(facts, evaluation)
    if not changes or not goal.activates:
        return None
    allowed = host.reboot is not RebootPolicy.NEVER
    if may_reboot is not None:
        allowed = host.name in may_reboot
    if goal is Goal.SWITCH and allowed:
        return None
    by_hand = "deploy it with --goal boot and reboot it yourself"
    allow = "let it reboot in the run (orchestrate_reboot: if-needed, or ask and --reboot), or "
    return PlanError(
        message=f"NixOS does not let its new system be switched to: {', '.join(changes)}",
        hint=allow + by_hand if goal is Goal.SWITCH else by_hand,
        host=host.name,
        stage=Stage.PLAN,
    )


def inhibited_note(changes: Collection[str]) -> str:
    """Say what comes of it for a host that may reboot."""
    listed = ", ".join(changes)
    return f"it gets its new system by a reboot: NixOS does not let it be switched to ({listed})"
