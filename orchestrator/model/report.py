"""What the stages found out: reports, verdicts, and the result of a run per host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.errors import Failure
from orchestrator.model.store import DerivationPath, StorePath
from orchestrator.model.variant import Backend, Variant


@dataclass(frozen=True, slots=True)
class BuildReport:
    """A derivation that is built: where, into what, in how many seconds."""

    derivation: DerivationPath
    output: StorePath
    builder: str
    seconds: float
    was_valid: bool


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What travelled to a host: paths, bytes, and the route they took.

    `reboot_for` names what of the system is in use only after a reboot: kernel,
    initrd, kernel modules, where the host has booted others.
    """

    host: str
    copied_paths: int
    copied_bytes: int
    route: str
    reboot_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SwitchReport:
    """An activation: from which system to which, with which units failed.

    `boots` is the new boot default, None if that was left as it is.
    """

    host: str
    previous: StorePath | None
    current: StorePath
    exit_code: int
    failed_units: tuple[str, ...] = ()
    boots: StorePath | None = None


@dataclass(frozen=True, slots=True)
class BootReport:
    """What the next boot gives, and gave before; what runs was not touched."""

    host: str
    previous: StorePath | None
    boots: StorePath


@dataclass(frozen=True, slots=True)
class DryActivationReport:
    """What an activation would do, in the words of switch-to-configuration."""

    host: str
    lines: tuple[str, ...]


class Fault(StrEnum):
    """What a failed smoke speaks against.

    `host`: it could not be run, which says nothing of what was installed.
    `system`: this host with this system, where another may do better.
    `package`: the llama package itself, wherever it goes.
    """

    HOST = "host"
    SYSTEM = "system"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True)
class SmokeReport:
    """What the installed llama-cli did with a real model.

    `failure` is empty when the smoke passed, and `fault` None. Speeds are tokens per second;
    None if llama-cli gave none.
    """

    host: str
    passed: bool
    backend: Backend | None
    device: str
    tokens_per_second: float | None
    prompt_tokens_per_second: float | None
    text: str
    failure: str = ""
    last_lines: tuple[str, ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The user's own check passed: in how many seconds, and what it said last."""

    host: str
    seconds: float
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RebootReport:
    """A host runs what it has booted, after a reboot or without one.

    `changed` names what needed the reboot, nothing if none was needed.
    """

    host: str
    changed: tuple[str, ...]
    boot_id: str
    seconds: float
    smoke: SmokeReport | None = None
    health: HealthReport | None = None


class Verdict(StrEnum):
    """How a rollback ended, or what the inventory accepts of a new system."""

    UNITS_FAILED = "units failed"
    ROLLED_BACK = "rolled back"
    DEGRADED = "degraded"
    NEEDS_REPAIR = "needs manual repair"
    UNTOUCHED = "untouched"


@dataclass(frozen=True, slots=True)
class RollbackReport:
    """Where a host is after its rollback, proven on the host itself.

    `damaged` names what of the new package its disk has not as it was built.
    """

    host: str
    verdict: Verdict
    current: StorePath | None
    smoke: SmokeReport | None
    detail: str = ""
    damaged: tuple[str, ...] = ()


Report = (
    BuildReport
    | CopyReport
    | SwitchReport
    | SmokeReport
    | HealthReport
    | BootReport
    | DryActivationReport
    | RebootReport
    | RollbackReport
)
"""What a step of a run reports."""


class Outcome(StrEnum):
    """A host's end state in a run."""

    DEPLOYED = "deployed"
    BUILT = "built"
    BOOTS_NEXT = "boots_next"
    TESTED = "tested"
    DRY_ACTIVATED = "dry_activated"
    UNCHANGED = "unchanged"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNREACHABLE = "unreachable"


_BAD = (Outcome.FAILED, Outcome.SKIPPED, Outcome.UNREACHABLE)


@dataclass(frozen=True, slots=True)
class HostResult:
    """One host's line in `run_finished`.

    `failed_units` are those of a system that stays in spite of them. `message` is one
    line; `failure` has the parts of what went wrong first, None if nothing did.
    """

    outcome: Outcome
    variant: Variant | None = None
    backend: Backend | None = None
    tokens_per_second: float | None = None
    previous: StorePath | None = None
    current: StorePath | None = None
    message: str = ""
    verdict: Verdict | None = None
    failed_units: tuple[str, ...] = ()
    failure: Failure | None = None

    @property
    def is_good(self) -> bool:
        """Whether the host is as the plan wanted it: one may have been told to go back."""
        if self.outcome is Outcome.ROLLED_BACK:
            return self.failure is None
        return self.outcome not in _BAD
