"""The events of a run: an envelope, and one type for each kind of event.

A kind has typed fields and a sentence. What a terminal shows of it, in which colour,
is decided in `cli/render/`; docs/events.md lists the kinds.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_args

import msgspec

from orchestrator.errors import Failure
from orchestrator.model.boot_part import BootPart, changed_parts
from orchestrator.model.journal import Step
from orchestrator.model.report import (
    BootReport,
    BuildReport,
    CopyReport,
    DryActivationReport,
    HealthReport,
    HostResult,
    RebootReport,
    Report,
    RollbackReport,
    SmokeReport,
    SwitchReport,
)
from orchestrator.model.stage import Stage
from orchestrator.model.store import DerivationPath, StorePath, derivation_name, store_name
from orchestrator.model.variant import Variant

R = TypeVar("R")

_MIB = 2**20

_LAST_SECOND = 253402300799
"""The end of the year 9999: what comes after it is no time to be printed."""


class EventBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What happened; `derivation` is the build that it is about, if it is about one.

    `event` is its name in a line of `--json`; kinds that differ by their stage share
    one, and name that stage. `spread` names a field whose own fields stand in the line
    in its place, and `computed` properties that stand there too.
    """

    derivation: DerivationPath | None = None

    event: ClassVar[str]
    stage: ClassVar[Stage | None] = None
    spread: ClassVar[str] = ""
    computed: ClassVar[tuple[str, ...]] = ()

    @property
    def sentence(self) -> str:
        """Say what happened, in a line or several."""
        raise NotImplementedError

    @property
    def message(self) -> str:
        """The sentence, as kinds that have no other message show it in `--json`."""
        return self.sentence

    def fields(self) -> dict[str, Any]:
        """Return what a line of `--json` says of it beside when and where, as JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        del found["type"]
        if self.spread:
            found |= found.pop(self.spread)
        return found | {name: getattr(self, name) for name in self.computed}


class StageStarted(EventBody, frozen=True, omit_defaults=True):
    """A stage begins on a host, or a build on a builder."""

    event: ClassVar[str] = "stage_started"

    @property
    def sentence(self) -> str:
        """Say what is built; of other stages that they begin."""
        return f"building {derivation_name(self.derivation)}" if self.derivation else "started"


class FactsRead(EventBody, frozen=True, omit_defaults=True):
    """The facts of a host or a builder are known."""

    event: ClassVar[str] = "stage_finished"
    stage: ClassVar[Stage | None] = Stage.FACTS

    @property
    def sentence(self) -> str:
        """Say so."""
        return "its facts are known"


class VariantChosen(EventBody, frozen=True, omit_defaults=True):
    """A host's llama.cpp was chosen, for a reason in words."""

    variant: Variant
    reason: str
    warnings: tuple[str, ...]

    event: ClassVar[str] = "stage_finished"
    stage: ClassVar[Stage | None] = Stage.VARIANT

    @property
    def sentence(self) -> str:
        """Say which and why, each warning on a line."""
        warnings = "".join(f"\nwarning: {text}" for text in self.warnings)
        return f"{self.variant}: {self.reason}{warnings}"


class Evaluated(EventBody, frozen=True, omit_defaults=True):
    """Nix evaluated a host's system."""

    toplevel: StorePath

    event: ClassVar[str] = "stage_finished"
    stage: ClassVar[Stage | None] = Stage.EVALUATE

    @property
    def sentence(self) -> str:
        """Name the system."""
        return f"evaluates to {store_name(self.toplevel)}"


class DerivationsSent(EventBody, frozen=True, omit_defaults=True):
    """A builder has the derivations that it builds; `derivations` counts them."""

    derivations: int

    event: ClassVar[str] = "stage_finished"
    stage: ClassVar[Stage | None] = Stage.EVALUATE

    @property
    def sentence(self) -> str:
        """Say how many."""
        return f"has the derivations of {self.derivations} builds"


class RollbackPlanned(EventBody, frozen=True, omit_defaults=True):
    """A rollback found the system that a host goes to, and what that is called."""

    goes_to: str
    toplevel: StorePath

    event: ClassVar[str] = "stage_finished"
    stage: ClassVar[Stage | None] = Stage.PLAN

    @property
    def sentence(self) -> str:
        """Say where the host goes."""
        return f"goes to {self.goes_to}"


class StepFinished(EventBody, Generic[R], frozen=True, omit_defaults=True):
    """A step of the rollout ended, with its report."""

    report: R

    event: ClassVar[str] = "stage_finished"


class Built(StepFinished[BuildReport], frozen=True, omit_defaults=True):
    """A derivation is built, or was there."""

    stage: ClassVar[Stage | None] = Stage.BUILD

    @property
    def sentence(self) -> str:
        """Say in how many seconds."""
        report = self.report
        done = "was there" if report.was_valid else f"built in {report.seconds:.1f} s"
        return f"{store_name(report.output)} {done}"


class Copied(StepFinished[CopyReport], frozen=True, omit_defaults=True):
    """A host has its new system's closure."""

    stage: ClassVar[Stage | None] = Stage.COPY_CLOSURE

    @property
    def sentence(self) -> str:
        """Say how much went which way, and what needs a reboot."""
        report = self.report
        size = f"{report.copied_bytes / _MIB:.0f} MiB"
        copied = f"{report.copied_paths} paths, {size}, {report.route}"
        if not report.reboot_for:
            return copied
        return f"{copied}\nneeds a reboot: {changed_parts(report.reboot_for)}"


class Switched(StepFinished[SwitchReport], frozen=True, omit_defaults=True):
    """A host runs its new system, unconfirmed."""

    stage: ClassVar[Stage | None] = Stage.SWITCH

    @property
    def sentence(self) -> str:
        """Say so, and which units failed."""
        units = self.report.failed_units
        failed = f", with failed units: {', '.join(units)}" if units else ""
        return f"the new system runs{failed}"


class SmokeTested(StepFinished[SmokeReport], frozen=True, omit_defaults=True):
    """The smoke test of a host's new system ended, well or badly."""

    stage: ClassVar[Stage | None] = Stage.SMOKE

    @property
    def sentence(self) -> str:
        """Say by which backend and how fast llama-cli answered, or why that is no pass."""
        report = self.report
        if not report.passed:
            return f"failed: {report.failure}"
        return f"{report.backend}, {report.tokens_per_second} tokens/s"


class HealthChecked(StepFinished[HealthReport], frozen=True, omit_defaults=True):
    """The user's own health check passed."""

    stage: ClassVar[Stage | None] = Stage.HEALTH_CHECK

    @property
    def sentence(self) -> str:
        """Say in how many seconds."""
        return f"passed in {self.report.seconds:.1f} s"


class Confirmed(StepFinished[SwitchReport], frozen=True, omit_defaults=True):
    """A host's automatic rollback is disarmed."""

    stage: ClassVar[Stage | None] = Stage.CONFIRM

    @property
    def sentence(self) -> str:
        """Say for how long the new system stays."""
        if self.report.boots is None:
            return "the new system stays until the next boot"
        return "the new system is the boot default"


class Rebooted(StepFinished[RebootReport], frozen=True, omit_defaults=True):
    """A host runs what it has booted."""

    stage: ClassVar[Stage | None] = Stage.REBOOT

    @property
    def sentence(self) -> str:
        """Say how long it was away and what was checked."""
        report = self.report
        if not report.changed:
            return "no reboot needed"
        healthy = ", and the health check passed" if report.health else ""
        booted = f"back in {report.seconds:.0f} s; the new system is booted"
        return f"{booted}, its llama-cli answers{healthy}"


class BootSet(StepFinished[BootReport], frozen=True, omit_defaults=True):
    """A host's new system is its boot default and was not activated."""

    stage: ClassVar[Stage | None] = Stage.BOOT

    @property
    def sentence(self) -> str:
        """Say so."""
        return "the next boot gives the new system"


class DryActivated(StepFinished[DryActivationReport], frozen=True, omit_defaults=True):
    """A host said what an activation would do."""

    stage: ClassVar[Stage | None] = Stage.DRY_ACTIVATE

    @property
    def sentence(self) -> str:
        """Say it in its own words."""
        return "\n".join(self.report.lines)


class RolledBack(StepFinished[RollbackReport], frozen=True, omit_defaults=True):
    """A rollback ended; its verdict says how."""

    stage: ClassVar[Stage | None] = Stage.ROLLBACK

    @property
    def sentence(self) -> str:
        """Say the verdict and what it stands on."""
        return f"{self.report.verdict}: {self.report.detail}"


class StageFailed(EventBody, frozen=True, omit_defaults=True):
    """A stage failed on a host, or a build on a builder."""

    failure: Failure

    event: ClassVar[str] = "stage_failed"
    spread: ClassVar[str] = "failure"

    @property
    def sentence(self) -> str:
        """Say what happened, how the command ended, and what to do next."""
        return _told(self.failure)


class MessageRefused(EventBody, frozen=True, omit_defaults=True):
    """A worker dropped a message that it can't read."""

    failure: Failure

    event: ClassVar[str] = "message_refused"
    spread: ClassVar[str] = "failure"

    @property
    def sentence(self) -> str:
        """Say what the message was, and what to do next."""
        return _told(self.failure)


class StoreUnknown(EventBody, frozen=True, omit_defaults=True):
    """A host or builder can't be asked what it has, and is taken to have nothing."""

    failure: Failure

    event: ClassVar[str] = "store_unknown"
    spread: ClassVar[str] = "failure"

    @property
    def sentence(self) -> str:
        """Say why."""
        return f"taken to have nothing in its store: {self.failure.message}"


class BuilderLost(EventBody, frozen=True, omit_defaults=True):
    """A builder can't go on with a build; `moves_to` is the next, empty if none fits."""

    failure: Failure
    moves_to: str

    event: ClassVar[str] = "builder_lost"
    spread: ClassVar[str] = "failure"
    computed: ClassVar[tuple[str, ...]] = ("message",)

    @property
    def sentence(self) -> str:
        """Say why, and where the work goes."""
        goes = f"the work moves to {self.moves_to}" if self.moves_to else "no other builder fits"
        return f"{self.failure.message}; {goes}"


class LogLine(EventBody, frozen=True, omit_defaults=True):
    """A build printed a line."""

    line: str

    event: ClassVar[str] = "log_line"

    @property
    def sentence(self) -> str:
        """Repeat it."""
        return self.line


class Progress(EventBody, frozen=True, omit_defaults=True):
    """So many bytes were copied to a host."""

    bytes: int

    event: ClassVar[str] = "progress"

    @property
    def sentence(self) -> str:
        """Say how much."""
        return f"{self.bytes / _MIB:.0f} MiB"


class ClosureSize(EventBody, frozen=True, omit_defaults=True):
    """What the new system's closure takes beside the old one's, in bytes."""

    before: int
    after: int

    event: ClassVar[str] = "closure_size"

    @property
    def sentence(self) -> str:
        """Say both, and the difference."""
        before, after = self.before / _MIB, self.after / _MIB
        return f"closure {before:.1f} → {after:.1f} MiB ({after - before:+.1f})"


class WorkerLost(EventBody, frozen=True, omit_defaults=True):
    """A step's worker gave no sign for as long as its lease."""

    event: ClassVar[str] = "worker_lost"
    computed: ClassVar[tuple[str, ...]] = ("message",)

    @property
    def sentence(self) -> str:
        """Say so, and what comes of the step."""
        return "its worker stopped responding; retrying the step"


class WaitsForLock(EventBody, frozen=True, omit_defaults=True):
    """Another run, the `holder`, changes the host since `since`, in seconds of the epoch."""

    holder: str
    author: str
    since: Annotated[float, msgspec.Meta(ge=0, le=_LAST_SECOND)]

    event: ClassVar[str] = "waits_for_lock"
    computed: ClassVar[tuple[str, ...]] = ("message",)

    @property
    def sentence(self) -> str:
        """Say who has the host, and that this run waits."""
        since = time.strftime("%H:%M:%S UTC", time.gmtime(self.since))
        author = self.author or "an unknown author"
        held = f"run {self.holder} of {author} has held its host lock since {since}"
        return f"{held}; this run waits for that one to end"


class Quarantined(EventBody, frozen=True, omit_defaults=True):
    """A smoke test speaks against a system or a package."""

    path: StorePath

    event: ClassVar[str] = "quarantined"
    computed: ClassVar[tuple[str, ...]] = ("message",)

    @property
    def sentence(self) -> str:
        """Say what no host gets any more, and how it does."""
        name = store_name(self.path)
        return f"{name} failed its smoke test and is quarantined; pass --again to deploy it anyway"


class BudgetSpent(EventBody, frozen=True, omit_defaults=True):
    """More failed than a budget allows; `subject` is the budget, or a variant that has one."""

    subject: str
    why: str

    event: ClassVar[str] = "budget_spent"
    computed: ClassVar[tuple[str, ...]] = ("message",)

    @property
    def sentence(self) -> str:
        """Say which budget, and what comes of the other hosts."""
        return f"{self.why}: the rest is left alone"


class BatchPause(EventBody, frozen=True, omit_defaults=True):
    """A batch waits; `batch` is its number, counted from 0, `seconds` the whole pause."""

    batch: int
    seconds: float

    event: ClassVar[str] = "batch_pause"
    computed: ClassVar[tuple[str, ...]] = ("subject", "message")

    @property
    def subject(self) -> str:
        """The batch's number as text, as the subject of a budget is."""
        return str(self.batch)

    @property
    def sentence(self) -> str:
        """Say when the batch begins."""
        return f"batch {self.batch + 1} begins {self.seconds:g} s after the last one's end"


class QueueUnserved(EventBody, frozen=True, omit_defaults=True):
    """Steps wait in a queue that no worker serves."""

    queue: str

    event: ClassVar[str] = "queue_unserved"
    computed: ClassVar[tuple[str, ...]] = ("message", "hint")

    @property
    def message(self) -> str:
        """Say which queue."""
        return f"no worker serves {self.queue}, and steps of this run wait for one"

    @property
    def hint(self) -> str:
        """The command that serves it."""
        return f"orchestrate worker --serve {self.queue}, on this run's broker"

    @property
    def sentence(self) -> str:
        """Say which queue, and what to do next."""
        return f"{self.message}\nnext: {self.hint}"


class InputLocked(EventBody, frozen=True, omit_defaults=True):
    """What an input of the flake was locked to, and is now; empty if it wasn't."""

    input: str
    before: str
    after: str

    event: ClassVar[str] = "input_locked"
    computed: ClassVar[tuple[str, ...]] = ("message",)

    @property
    def sentence(self) -> str:
        """Say from which revision to which."""
        if self.before == self.after:
            return f"{self.input} has nothing newer than {self.after}"
        return f"{self.input} {self.before or 'none'} → {self.after}"


class Upgrades(EventBody, frozen=True, omit_defaults=True):
    """The names, with their versions, of a host's llama package and system, before and after.

    Empty if there is none. `rebuilt` says that the package is another one,
    also if its name is the same: upstream's own package has no version.
    """

    llama_before: str
    llama_after: str
    system_before: str
    system_after: str
    rebuilt: bool

    event: ClassVar[str] = "upgrades"
    computed: ClassVar[tuple[str, ...]] = ("message",)

    @property
    def sentence(self) -> str:
        """Say what changes into what; of the system only if its name is another one."""
        llama = f"{self.llama_before or 'no llama.cpp'} → {self.llama_after}"
        if not self.rebuilt:
            llama = f"{self.llama_after} stays"
        elif self.llama_before == self.llama_after:
            llama = f"{self.llama_after} built anew"
        if self.system_before == self.system_after:
            return llama
        return f"{llama}; {self.system_before or 'no NixOS'} → {self.system_after}"


class RebootNeeded(EventBody, frozen=True, omit_defaults=True):
    """What of a host's new system only a reboot puts in use, and that may be `unknown` yet.

    `message` says it in words, with what comes of it by the inventory and the run's goal.
    """

    parts: tuple[BootPart, ...]
    unknown: tuple[BootPart, ...]
    message: str

    event: ClassVar[str] = "reboot_needed"

    @property
    def sentence(self) -> str:
        """Say what changes and whether the host reboots."""
        return self.message


class LockSettled(EventBody, frozen=True, omit_defaults=True):
    """An upgrade's new lock of `inputs` stays, or the old one does."""

    inputs: tuple[str, ...]
    upgraded: bool

    event: ClassVar[str] = "lock_settled"
    computed: ClassVar[tuple[str, ...]] = ("message",)

    @property
    def sentence(self) -> str:
        """Say which stays and why."""
        inputs = ", ".join(self.inputs)
        if self.upgraded:
            return f"every host ended well: the new lock of {inputs} stays"
        return f"not every host ended well: {inputs} stays locked as before"


class HostFinished(EventBody, frozen=True, omit_defaults=True):
    """Nothing more comes of a host in this run."""

    result: HostResult

    event: ClassVar[str] = "host_finished"
    spread: ClassVar[str] = "result"

    @property
    def sentence(self) -> str:
        """Say how it ended, and why if that isn't well."""
        return " ".join(part for part in (self.result.outcome, self.result.message) if part)


class RunFinished(EventBody, frozen=True, omit_defaults=True):
    """The run has ended; always its last event."""

    hosts: dict[str, HostResult]

    event: ClassVar[str] = "run_finished"

    @property
    def sentence(self) -> str:
        """Count the hosts by how they ended."""
        outcomes = Counter(result.outcome for result in self.hosts.values())
        counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        return f"the run has ended: {counted or 'no hosts'}"


Body = (
    StageStarted
    | FactsRead
    | VariantChosen
    | Evaluated
    | DerivationsSent
    | RollbackPlanned
    | Built
    | Copied
    | Switched
    | SmokeTested
    | HealthChecked
    | Confirmed
    | Rebooted
    | BootSet
    | DryActivated
    | RolledBack
    | StageFailed
    | MessageRefused
    | StoreUnknown
    | BuilderLost
    | LogLine
    | Progress
    | ClosureSize
    | WorkerLost
    | WaitsForLock
    | Quarantined
    | BudgetSpent
    | BatchPause
    | QueueUnserved
    | InputLocked
    | Upgrades
    | RebootNeeded
    | LockSettled
    | HostFinished
    | RunFinished
)
"""Every kind of event."""

KINDS: tuple[type[EventBody], ...] = get_args(Body)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run: when, in which run, where, and what.

    `ts` is seconds since the epoch; `host` and `stage` are empty for the run as
    a whole.
    """

    ts: float
    run: str
    host: str
    stage: str
    body: Body

    @property
    def event(self) -> str:
        """Its name in a line of `--json`."""
        return self.body.event

    def line(self) -> dict[str, Any]:
        """Return a line of `--json`: the envelope, then what the kind brings, as JSON."""
        envelope = {
            "ts": round(self.ts, 3),
            "run": self.run,
            "host": self.host,
            "stage": self.stage,
            "event": self.event,
        }
        # A failure names a host and a stage of its own, which the envelope overrides.
        return envelope | self.body.fields() | envelope


def event_now(run: str, host: str, stage: str, body: Body) -> Event:
    """Make an event that happens now."""
    return Event(time.time(), run, host, stage, body)


_FINISHED: dict[Step, type[StepFinished[Any]]] = {
    Step.BUILD: Built,
    Step.COPY: Copied,
    Step.SWITCH: Switched,
    Step.SMOKE: SmokeTested,
    Step.HEALTH: HealthChecked,
    Step.CONFIRM: Confirmed,
    Step.REBOOT: Rebooted,
    Step.BOOT: BootSet,
    Step.DRY_ACTIVATE: DryActivated,
    Step.ROLLBACK: RolledBack,
}


def step_finished(step: Step, report: Report) -> Body:
    """Make the event of a step that ended with this report."""
    finished: Body = _FINISHED[step](report)  # type: ignore[assignment]
    return finished


def _told(failure: Failure) -> str:
    lines = [failure.message, *(f"| {line}" for line in failure.last_lines)]
    lines += [f"next: {failure.hint}"] if failure.hint else []
    return "\n".join(lines)
