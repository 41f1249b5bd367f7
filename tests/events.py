"""An event of each kind, for tests of what is made of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import Failure
from orchestrator.model.boot_part import BootPart
from orchestrator.model.event import (
    BatchPause,
    BootSet,
    BudgetSpent,
    BuilderLost,
    Built,
    ClosureSize,
    Confirmed,
    Copied,
    DerivationsSent,
    DryActivated,
    Evaluated,
    FactsRead,
    HealthChecked,
    HostFinished,
    InputLocked,
    LockSettled,
    LogLine,
    MessageRefused,
    Progress,
    Quarantined,
    QueueUnserved,
    Rebooted,
    RebootNeeded,
    RollbackPlanned,
    RolledBack,
    RunFinished,
    SmokeTested,
    StageFailed,
    StageStarted,
    StoreUnknown,
    Switched,
    Upgrades,
    VariantChosen,
    WaitsForLock,
    WorkerLost,
)
from orchestrator.model.report import (
    BootReport,
    BuildReport,
    CopyReport,
    DryActivationReport,
    HealthReport,
    HostResult,
    Outcome,
    RebootReport,
    RollbackReport,
    SmokeReport,
    SwitchReport,
    Verdict,
)
from orchestrator.model.variant import Backend, Variant
from tests.plans import derivation, output

if TYPE_CHECKING:
    from orchestrator.model.event import Body


def bodies(text: str) -> tuple[Body, ...]:
    """Return one event of each kind, with `text` wherever a machine could put it."""
    return (*planning(text), *steps(text), *troubles(text), *ends(text))


def planning(text: str) -> tuple[Body, ...]:
    """Return what happens while a plan is made."""
    return (
        StageStarted(),
        FactsRead(),
        VariantChosen(Variant.CPU, text, (text,)),
        Evaluated(output("system")),
        DerivationsSent(3),
        RollbackPlanned(text, output("system")),
        InputLocked("llama-cpp", text, text),
        Upgrades("", text, "", text, rebuilt=True),
        RebootNeeded((BootPart.KERNEL,), (), text),
    )


def steps(text: str) -> tuple[Body, ...]:
    """Return how the steps of a rollout end, and what is seen of them meanwhile."""
    old, new = output("old"), output("new")
    switched = SwitchReport("carbon", old, new, 4, failed_units=(text,), boots=new)
    smoked = SmokeReport("carbon", True, Backend.CPU, text, 12.5, 50.0, text)  # noqa: FBT003
    return (
        StageStarted(derivation=derivation("llama")),
        LogLine(text),
        Progress(5 * 2**20),
        Built(BuildReport(derivation("llama"), output("llama"), "forge", 1.0, was_valid=False)),
        Copied(CopyReport("carbon", 3, 2**20, text, ("kernel",))),
        ClosureSize(2**20, 3 * 2**20),
        Switched(switched),
        SmokeTested(smoked),
        HealthChecked(HealthReport("carbon", 1.5, (text,))),
        Confirmed(switched),
        Rebooted(RebootReport("carbon", ("kernel",), "id", 40.0, smoked)),
        BootSet(BootReport("carbon", old, new)),
        DryActivated(DryActivationReport("carbon", (text,))),
        RolledBack(RollbackReport("carbon", Verdict.DEGRADED, old, None, text)),
    )


def troubles(text: str) -> tuple[Body, ...]:
    """Return what goes wrong, or holds a run back."""
    failure = Failure(text, hint=text, host=text, stage=text, command=text, last_lines=(text, text))
    return (
        StageFailed(failure),
        MessageRefused(failure),
        StoreUnknown(failure),
        BuilderLost(failure, "anvil"),
        WorkerLost(),
        WaitsForLock("run-0", text, 1700000000.0),
        Quarantined(output("llama")),
        BudgetSpent("failures", text),
        BatchPause(1, 30.0),
        QueueUnserved("build.x86_64-linux.cuda"),
    )


def ends(text: str) -> tuple[Body, ...]:
    """Return how hosts and runs end."""
    failure = Failure(text, host="carbon")
    result = HostResult(Outcome.ROLLED_BACK, message=text, failure=failure)
    return (
        LockSettled(("llama-cpp",), upgraded=True),
        HostFinished(result),
        RunFinished({"carbon": result}),
    )
