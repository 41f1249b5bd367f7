"""The rules that a run follows: decided with its plan, so that a resumed run has the same."""

from __future__ import annotations

from dataclasses import dataclass, field

from inventory.rollout import WHOLE, Size
from orchestrator.model.variant import Variant


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `most` of these hosts may change or be out of service at a time.

    `group` is whose hosts they are, `all` for the fleet's.
    """

    group: str
    hosts: tuple[str, ...]
    most: int


@dataclass(frozen=True, slots=True)
class Reboots:
    """Which hosts reboot where their new systems need it, and all targets of their groups.

    The groups are those of the inventory; machines in none are one group.
    """

    hosts: tuple[str, ...] = ()
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def shared_groups(self) -> dict[str, frozenset[str]]:
        """The groups of more than one target: a reboot can't empty any other."""
        members = {group: frozenset(names) for group, names in self.groups.items()}
        return {group: names for group, names in members.items() if len(names) > 1}


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds a run back. Percentages are numbers of hosts here, None is no limit.

    Args:
        serial: the batch sizes that were asked for.
        canary: whether one host of each package has to end well before its others.
        batch_pause: seconds between the end of a batch and the next one's begin.
        caps: how many hosts may be out of service at a time.
        max_failures: how many hosts may fail before the rest is left alone.
        max_failures_per_variant: the same within a variant, for its own rest.
        max_unreachable: how many hosts may be unreachable before that.
    """

    serial: tuple[Size, ...] = WHOLE
    canary: bool = False
    batch_pause: float = 0.0
    caps: tuple[Cap, ...] = ()
    max_failures: int | None = None
    max_failures_per_variant: dict[Variant, int] = field(default_factory=dict)
    max_unreachable: int | None = None

    @property
    def contains_canaries(self) -> bool:
        """Whether a batch of failed canaries ends no more than their own packages.

        It does where nobody asked for batches; an explicit serial is Ansible's,
        and a batch without any good host ends the run.
        """
        return self.canary and self.serial == WHOLE
