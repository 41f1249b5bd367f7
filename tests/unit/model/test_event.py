"""Each kind of event: its sentence, its line of `--json`, and its way through Redis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from orchestrator.errors import Failure, FailureKind, PayloadError
from orchestrator.model.event import (
    KINDS,
    BuilderLost,
    Built,
    Confirmed,
    Copied,
    Event,
    HostFinished,
    InputLocked,
    LockSettled,
    RunFinished,
    SmokeTested,
    StageFailed,
    StageStarted,
    Switched,
    Upgrades,
    WaitsForLock,
    event_now,
    step_finished,
)
from orchestrator.model.journal import Step
from orchestrator.model.report import (
    BuildReport,
    CopyReport,
    HostResult,
    Outcome,
    SmokeReport,
    SwitchReport,
)
from orchestrator.state.codec import read_back
from tests.events import bodies
from tests.plans import derivation, output

if TYPE_CHECKING:
    from orchestrator.model.event import Body

SENTENCES = {
    "StageStarted": "building llama",
    "FactsRead": "its facts are known",
    "VariantChosen": "cpu: text\nwarning: text",
    "Evaluated": "evaluates to system",
    "DerivationsSent": "has the derivations of 3 builds",
    "RollbackPlanned": "goes to text",
    "InputLocked": "llama-cpp has nothing newer than text",
    "Upgrades": "no llama.cpp → text; no NixOS → text",
    "RebootNeeded": "text",
    "LogLine": "text",
    "Progress": "5 MiB",
    "Built": "llama built in 1.0 s",
    "Copied": "3 paths, 1 MiB, text\nneeds a reboot: kernel",
    "ClosureSize": "closure 1.0 → 3.0 MiB (+2.0)",
    "Switched": "the new system runs, with failed units: text",
    "SmokeTested": "CPU, 12.5 tokens/s",
    "HealthChecked": "passed in 1.5 s",
    "Confirmed": "the new system is the boot default",
    "Rebooted": "back in 40 s; the new system is booted, its llama-cli answers",
    "BootSet": "the next boot gives the new system",
    "DryActivated": "text",
    "RolledBack": "degraded: text",
    "StageFailed": "text\n| text\n| text\nnext: text",
    "MessageRefused": "text\n| text\n| text\nnext: text",
    "StoreUnknown": "taken to have nothing in its store: text",
    "BuilderLost": "text; the work moves to anvil",
    "WorkerLost": "its worker stopped responding; retrying the step",
    "WaitsForLock": "run run-0 of text has held its host lock since 22:13:20 UTC;"
    " this run waits for that one to end",
    "Quarantined": "llama failed its smoke test and is quarantined;"
    " pass --again to deploy it anyway",
    "BudgetSpent": "text: the rest is left alone",
    "BatchPause": "batch 2 begins 30 s after the last one's end",
    "QueueUnserved": "no worker serves build.x86_64-linux.cuda, and steps of this run wait for one"
    "\nnext: orchestrate worker --serve build.x86_64-linux.cuda, on this run's broker",
    "LockSettled": "every host ended well: the new lock of llama-cpp stays",
    "HostFinished": "rolled_back text",
    "RunFinished": "the run has ended: 1 rolled_back",
}

KEYS = {
    "variant": {"variant", "reason", "warnings"},
    "plan": {"goes_to", "toplevel"},
    "input_locked": {"input", "before", "after", "message"},
    "upgrades": {
        *("llama_before", "llama_after", "system_before", "system_after", "rebuilt", "message"),
    },
    "reboot_needed": {"parts", "unknown", "message"},
    "log_line": {"line"},
    "progress": {"bytes"},
    "build": {"report"},
    "copy_closure": {"report"},
    "closure_size": {"before", "after"},
    "smoke": {"report"},
    "stage_failed": {"message", "hint", "command", "last_lines"},
    "message_refused": {"message", "hint", "command", "last_lines"},
    "store_unknown": {"message"},
    "builder_lost": {"message"},
    "worker_lost": {"message"},
    "waits_for_lock": {"message", "holder", "author", "since"},
    "quarantined": {"path", "message"},
    "budget_spent": {"subject", "message"},
    "batch_pause": {"subject", "message"},
    "queue_unserved": {"queue", "message", "hint"},
    "lock_settled": {"message"},
    "host_finished": {
        *("outcome", "variant", "backend", "tokens_per_second", "previous", "current"),
        *("message", "verdict", "failed_units", "failure"),
    },
    "run_finished": {"hosts"},
}
"""The keys that a line had before there were types, by its event, or its stage if that ended."""


def test_every_kind_is_tried() -> None:
    """A new kind of event gets a sentence on purpose."""
    assert {type(body) for body in bodies("text")} == set(KINDS)
    assert SENTENCES.keys() == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("body", bodies("text"), ids=lambda body: type(body).__name__)
def test_each_kind_has_its_sentence(body: Body) -> None:
    """What it says is made of its fields alone."""
    expected = SENTENCES[type(body).__name__]
    if isinstance(body, StageStarted) and body.derivation is None:
        expected = "started"
    assert body.sentence == expected


OLD, NEW = output("old"), output("new")
QUIET = SwitchReport("carbon", OLD, NEW, 0)
BAD_SMOKE = SmokeReport("carbon", False, None, "", None, None, "", "it crashed")  # noqa: FBT003
THERE = BuildReport(derivation("llama"), output("llama"), "forge", 0.0, was_valid=True)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (Built(THERE), "llama was there"),
        (Copied(CopyReport("carbon", 0, 0, "it is there already")), "0 paths, 0 MiB, it is there"),
        (Switched(QUIET), "the new system runs"),
        (Confirmed(QUIET), "the new system stays until the next boot"),
        (SmokeTested(BAD_SMOKE), "failed: it crashed"),
        (StageFailed(Failure("no")), "no"),
        (BuilderLost(Failure("it is off"), ""), "it is off; no other builder fits"),
        (
            WaitsForLock("run-0", "", 0.0),
            "run run-0 of an unknown author has held its host lock since",
        ),
        (InputLocked("user", "", "1"), "user none → 1"),
        (LockSettled(("user",), upgraded=False), "not every host ended well: user stays locked"),
        (Upgrades("llama-1", "llama-1", "a", "a", rebuilt=True), "llama-1 built anew"),
        (Upgrades("llama-1", "llama-1", "a", "b", rebuilt=False), "llama-1 stays; a → b"),
        (HostFinished(HostResult(Outcome.DEPLOYED)), "deployed"),
        (RunFinished({}), "the run has ended: no hosts"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_sentence_says_what_differs(body: Body, sentence: str) -> None:
    """What is missing, was there before or went badly has words of its own."""
    assert body.sentence.startswith(sentence)


@pytest.mark.parametrize("body", bodies("text"), ids=lambda body: type(body).__name__)
def test_an_event_comes_back_from_json(body: Body) -> None:
    """What is written into a stream is read back into the same kind, field by field."""
    event = event_now("run-1", "carbon", body.stage or "", body)
    assert read_back(msgspec.json.encode(event), Event, "an event", "start a new run") == event


NO_TIME = '{"type":"WaitsForLock","holder":"run-0","author":"","since":1e300}'


@pytest.mark.parametrize("body", ["{}", '{"type":"Danced"}', '{"type":"LogLine"}', NO_TIME])
def test_what_is_no_event_is_refused(body: str) -> None:
    """A kind that this version doesn't know, and one whose sentence can't be said, are named."""
    data = f'{{"ts":1,"run":"run-1","host":"","stage":"","body":{body}}}'
    with pytest.raises(PayloadError, match="an event can't be read back"):
        read_back(data, Event, "an event", "start a new run")


@pytest.mark.parametrize("body", bodies("text"), ids=lambda body: type(body).__name__)
def test_a_line_keeps_its_keys(body: Body) -> None:
    """Programs that read `--json` find what they always found."""
    line = event_now("run-1", "carbon", body.stage or "", body).line()
    assert list(line)[:5] == ["ts", "run", "host", "stage", "event"]
    ended = line["event"] == "stage_finished"
    assert KEYS.get(line["stage"] if ended else line["event"], set()) <= line.keys()
    json.dumps(line)


def test_each_step_ends_with_its_own_kind() -> None:
    """A confirmation's report is a switch's, and its event says another thing."""
    assert isinstance(step_finished(Step.CONFIRM, QUIET), Confirmed)
    assert isinstance(step_finished(Step.SWITCH, QUIET), Switched)


def test_a_failed_stage_says_of_which_kind() -> None:
    """Whoever counts unreachable hosts need not read the message."""
    lost = Failure("no answer", host="carbon", kind=FailureKind.UNREACHABLE)
    line = event_now("run-1", "carbon", "facts", StageFailed(lost)).line()
    assert (line["host"], line["stage"], line["kind"]) == ("carbon", "facts", "unreachable")
