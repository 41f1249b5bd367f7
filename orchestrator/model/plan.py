"""What a deployment is going to do: derivations, placement, batches."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from inventory.copying import CopyLimits
from inventory.host import Host
from orchestrator.errors import Failure
from orchestrator.model.boot_part import BootPart
from orchestrator.model.facts import Facts
from orchestrator.model.journal import Step
from orchestrator.model.policy import Policy, Reboots
from orchestrator.model.store import DerivationPath, StorePath
from orchestrator.model.variant import Variant, VariantChoice

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class FlakeRef:
    """The generated flake, by its directory on the machine that evaluates."""

    directory: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What Nix made of one host: its system and the llama package in it.

    A system that is on the host already, as an earlier generation is, has no
    derivation here, and which package is in it isn't known. `boot_parts` is
    where its kernel, initrd and modules are, or will be once they are built; it
    lacks what the system lacks and what isn't known. `inhibitors` are its
    system.switch.inhibitors.
    """

    host: str
    toplevel_drv: DerivationPath | None
    toplevel: StorePath
    llama_drv: DerivationPath | None
    llama: StorePath | None
    boot_parts: dict[BootPart, StorePath] = field(default_factory=dict)
    inhibitors: dict[str, str] = field(default_factory=dict)


class Action(StrEnum):
    """What a run does to a host."""

    DEPLOY = "deploy"
    UNCHANGED = "unchanged"


class Goal(StrEnum):
    """How far a run goes."""

    BUILD = "build"
    SWITCH = "switch"
    BOOT = "boot"
    TEST = "test"
    DRY_ACTIVATE = "dry-activate"

    @property
    def reaches_hosts(self) -> bool:
        """Whether closures are copied to targets."""
        return self is not Goal.BUILD

    @property
    def activates(self) -> bool:
        """Whether the new system runs afterwards, proven by its smoke."""
        return self in (Goal.SWITCH, Goal.TEST)

    @property
    def changes_hosts(self) -> bool:
        """Whether a target is another one afterwards, so that the rollout's policy holds."""
        return self.reaches_hosts and self is not Goal.DRY_ACTIVATE

    def is_met(self, facts: Facts, wanted: StorePath) -> bool:
        """Whether a host is as this goal wants it already."""
        boots = facts.boot_default == wanted
        # What no run has confirmed isn't there to stay.
        runs = facts.running_system == wanted and facts.goes_back_to is None
        if self is Goal.BOOT:
            return boots
        return runs and (boots or self in (Goal.TEST, Goal.DRY_ACTIVATE))


class Fanout(StrEnum):
    """Who gives a host its closure: its builder, or also hosts that have it already."""

    BUILDER = "builder"
    PEERS = "peers"


@dataclass(frozen=True, slots=True)
class CopyTerms:
    """On which terms closures travel.

    Args:
        check_signatures: whether a host takes only what its builder signed.
        fanout: who gives.
        limits: what copies may take together.
    """

    check_signatures: bool = True
    fanout: Fanout = Fanout.BUILDER
    limits: CopyLimits = field(default_factory=CopyLimits)


@dataclass(frozen=True, slots=True)
class Build:
    """One distinct derivation, built once on one builder for every host that needs it.

    `fallbacks` are the builders that fit as well, best first: where the work
    goes when `builder` fails. A toplevel names its llama package in `depends_on`: it
    is built once that is, on whichever builder made it. With `is_available` there
    is nothing to build: the builder has the output, or one of its substituters; with
    `is_there` it is the builder.
    """

    derivation: DerivationPath
    output: StorePath
    builder: str
    fallbacks: tuple[str, ...]
    features: tuple[str, ...]
    hosts: tuple[str, ...]
    reason: str
    depends_on: DerivationPath | None = None
    is_available: bool = False
    is_there: bool = False


class Package(NamedTuple):
    """What hosts share that share a canary: a variant, and the llama.cpp it became."""

    variant: Variant
    derivation: DerivationPath | None


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host's way through the run.

    `batch` counts from 0. A `canary` is the first host to get its package. With
    `has_system` the wanted system is in the host's store already. `reboot_for`
    names what is in use after a reboot only, and `reboot_unknown` that of which
    the copy will say whether it is. `inhibited_by` names what keeps its new system
    from being switched to: it gets that by a reboot. A host that `goes_back` gets what
    it had before, which is `generation` of its profile if it is one.
    """

    target: Host
    facts: Facts
    choice: VariantChoice
    evaluation: Evaluation
    action: Action
    batch: int = 0
    canary: bool = False
    notes: tuple[str, ...] = ()
    has_system: bool = False
    reboot_for: tuple[BootPart, ...] = ()
    reboot_unknown: tuple[BootPart, ...] = ()
    inhibited_by: tuple[str, ...] = ()
    goes_back: bool = False
    generation: int | None = None

    @property
    def name(self) -> str:
        """The inventory name."""
        return self.target.name

    @property
    def awaited(self) -> DerivationPath | None:
        """The build that it waits for; None if its system is there already."""
        return None if self.has_system else self.evaluation.toplevel_drv

    @property
    def package(self) -> Package:
        """What its canary tries for it."""
        return Package(self.choice.variant, self.evaluation.llama_drv)

    @property
    def previous(self) -> StorePath | None:
        """Where a rollback goes: what ran when the facts were read, if that was confirmed.

        Otherwise it is where that one's own rollback leads.
        """
        return self.facts.goes_back_to or self.facts.running_system

    @property
    def tools(self) -> StorePath | None:
        """The system whose programs our scripts use from the switch to its end.

        Those of the new one may not run there. None if the old one has none.
        """
        return self.previous if self.facts.has_system_shell else None

    def with_previous(self, previous: StorePath | None) -> HostPlan:
        """Return the same plan for a host that ran `previous` before it."""
        facts = replace(self.facts, running_system=previous, goes_back_to=None)
        return replace(self, facts=facts)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run comes from, and for how long it is remembered.

    `author` is user@controller. `started_at` is in seconds since the epoch.
    `command` is the command and its target, without options that may hold a
    secret. `project` tells the runs of one folder from others on the same server;
    empty where all are one project's.
    """

    author: str = ""
    started_at: float = 0.0
    command: str = ""
    keep_days: int = 90
    project: str = ""

    @property
    def keep_seconds(self) -> int:
        """How long it is remembered, in seconds."""
        return self.keep_days * 24 * 3600


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A run by a lock of its own, which is the flake's once every host has ended well.

    `inputs` were locked anew. `flake` is the one whose lock it is about, on the
    `evaluator`; None is the controller.
    """

    inputs: tuple[str, ...]
    flake: FlakeRef
    evaluator: Host | None = None


# Without slots, so that it can look its hosts and builds up by their names: a driver
# asks for each of a thousand of them, every time that it looks at its run.
@dataclass(frozen=True)
class Plan:
    """A whole run, decided before anything is touched.

    `unreachable`, `blocked` (by a pin, by policy, by a build that failed before)
    and `failed` (its facts or its evaluation) map a host's name to why it is left
    out. `retry_failed` builds also what is remembered to have failed; `terms` are
    those of its copies.
    """

    run: str
    hosts: tuple[HostPlan, ...]
    builders: tuple[Host, ...]
    builds: tuple[Build, ...]
    unreachable: dict[str, Failure]
    blocked: dict[str, Failure]
    failed: dict[str, Failure]
    confirm_timeout: float
    way_back_timeout: float
    goal: Goal = Goal.SWITCH
    policy: Policy = field(default_factory=Policy)
    retry_failed: bool = False
    terms: CopyTerms = field(default_factory=CopyTerms)
    origin: Origin = Origin()
    upgrade: Upgrade | None = None
    reboots: Reboots = field(default_factory=Reboots)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The hosts that were asked for, those that are left out last."""
        left_out = (*self.unreachable, *self.blocked, *self.failed)
        return (*(host.name for host in self.hosts), *left_out)

    @property
    def outputs_there(self) -> tuple[Build, ...]:
        """The builds whose outputs their builders have: nobody need ask for them again.

        Where nothing but builds is wanted somebody does, so that the garbage collector
        of the builder leaves them.
        """
        return tuple(build for build in self.builds if build.is_there and self.goal.reaches_hosts)

    @property
    def has_work(self) -> bool:
        """Whether any host changes."""
        return any(host.action is Action.DEPLOY for host in self.hosts)

    def with_previous(self, previous: Mapping[str, StorePath]) -> Plan:
        """Return the same plan for hosts that ran other systems before it than they did."""
        if not previous:
            return self
        hosts = tuple(
            host.with_previous(previous[host.name]) if host.name in previous else host
            for host in self.hosts
        )
        return replace(self, hosts=hosts)

    def way_of(self, host: HostPlan) -> tuple[Step, ...]:
        """Return the steps that a host goes once its closure is there, in their order."""
        if self.goal is Goal.BOOT:
            return (Step.BOOT,)
        if self.goal is Goal.DRY_ACTIVATE:
            return (Step.DRY_ACTIVATE,)
        if self.goal is Goal.SWITCH and host.inhibited_by:
            # The proof of what it has booted is a part of the reboot.
            return (Step.BOOT, Step.REBOOT)
        health = (Step.HEALTH,) if host.target.health is not None else ()
        stays = (Step.SWITCH, Step.SMOKE, *health, Step.CONFIRM)
        reboots = self.goal is Goal.SWITCH and host.name in self._reboots
        return (*stays, Step.REBOOT) if reboots else stays

    def host(self, name: str) -> HostPlan:
        """Return the plan of the host called `name`.

        Raises:
            KeyError: the plan has no such host.
        """
        return self._hosts[name]

    def build(self, derivation: DerivationPath) -> Build:
        """Return the build of `derivation`.

        Raises:
            KeyError: the plan builds no such derivation.
        """
        return self._builds[derivation]

    def build_before(self, derivation: DerivationPath) -> DerivationPath | None:
        """Return the build that another one waits for; None if it waits for none."""
        build = self._builds.get(derivation)
        return build.depends_on if build is not None else None

    @cached_property
    def _hosts(self) -> dict[str, HostPlan]:
        return {host.name: host for host in self.hosts}

    @cached_property
    def _builds(self) -> dict[DerivationPath, Build]:
        return {build.derivation: build for build in self.builds}

    @cached_property
    def _reboots(self) -> frozenset[str]:
        return frozenset(self.reboots.hosts)
