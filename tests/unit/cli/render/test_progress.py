"""What a run looks like: no remote text moves the terminal, every line has its shape."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.live import Live

from orchestrator.cli.render.progress import (
    JsonProgress,
    LiveProgress,
    PlainProgress,
    open_progress,
    summary,
)
from orchestrator.model.event import Event
from orchestrator.model.report import HostResult, Outcome, Verdict
from orchestrator.model.variant import Backend, Variant
from tests.plans import output

HOSTILE = "\x1b[2J\x1b]0;title\x07\r\x9b31m\u202eevil\u2028line\x00\x7f\x85end"


def event(name: str, stage: str = "", **data: Any) -> Event:  # noqa: ANN401 - JSON
    """Give an event of carbon."""
    return Event(1700000000.12345, "run-1", "carbon", stage, name, data)


def every_kind(text: str) -> tuple[Event, ...]:
    """Give one event of each kind, with `text` wherever a machine could put it."""
    result = HostResult(Outcome.ROLLED_BACK, message=text)
    built = {"output": output("llama"), "was_valid": False, "seconds": 1.0}
    copied = {"copied_paths": 3, "copied_bytes": 2**20, "route": text}
    smoked = {"passed": True, "backend": text, "tokens_per_second": 12.5}
    reports: dict[str, dict[str, Any]] = {
        "build": built,
        "copy_closure": copied,
        "switch": {},
        "smoke": smoked,
        "confirm": {},
        "rollback": {"verdict": Verdict.GOOD.value, "detail": text},
    }
    return (
        event("stage_started", "switch"),
        event("log_line", "build", line=text),
        event("progress", "copy_closure", bytes=5 * 2**20),
        event("builder_lost", "build", message=text),
        event("queue_unserved", message=text, hint=text),
        event("stage_failed", "switch", message=text, last_lines=[text, text], hint=text),
        event("stage_finished", "variant", variant="cpu", reason=text, warnings=[text]),
        event("stage_finished", "smoke", report={"passed": False, "failure": text}),
        *(event("stage_finished", stage, report=report) for stage, report in reports.items()),
        event("host_finished", **msgspec.to_builtins(result)),
        Event(1.0, "run-1", "", "", "run_finished", {"hosts": {}}),
        event("something_new", text, text=text),
    )


def is_harmless(text: str) -> bool:
    """Whether nothing in a text moves a cursor or turns the writing round."""
    return all(char.isprintable() or char in "\t\n" for char in text)


@settings(max_examples=50, deadline=None)
@given(st.text() | st.just(HOSTILE))
def test_plain_lines_hold_nothing_that_moves_a_terminal(text: str) -> None:
    """Whatever a machine says, a plain line has printable characters alone."""
    stream = io.StringIO()
    for told in every_kind(text):
        PlainProgress(stream).hear(told)
    assert is_harmless(stream.getvalue())


def test_plain_lines_say_where_and_what() -> None:
    """Host and stage come first; the end of a failed command and the hint follow."""
    stream = io.StringIO()
    failed = event("stage_failed", "switch", message="no", last_lines=["a", "b"], hint="look")
    PlainProgress(stream).hear(failed)
    PlainProgress(stream).hear(event("log_line", "build", line="cc -c x.c"))
    assert stream.getvalue().splitlines() == [
        "carbon switch: no",
        "  | a",
        "  | b",
        "  next: look",
    ]
    PlainProgress(stream, with_logs=True).hear(event("log_line", "build", line="cc -c x.c"))
    assert stream.getvalue().endswith("\ncarbon build: cc -c x.c\n")


@settings(max_examples=50, deadline=None)
@given(st.text() | st.just(HOSTILE))
def test_json_lines_are_one_object_each(text: str) -> None:
    """Every event is one line that parses, with its five keys and its own data."""
    stream = io.StringIO()
    events = every_kind(text)
    for told in events:
        JsonProgress(stream).hear(told)
    lines = stream.getvalue().split("\n")
    assert lines.pop() == ""
    assert len(lines) == len(events)
    for line, told in zip(lines, events, strict=True):
        found = json.loads(line)
        assert {"ts", "run", "host", "stage", "event"} <= found.keys()
        assert (found["run"], found["host"], found["event"]) == (told.run, told.host, told.event)
        data = json.loads(json.dumps(told.data))
        assert {name: found[name] for name in data} == data


@pytest.mark.parametrize("name", ["budget_spent", "batch_pause"])
def test_what_holds_a_whole_run_back_stays_on_the_screen(name: str) -> None:
    """A spent budget and a pause are of no host, and are told in lines and above the live ones."""
    told = Event(1.0, "run-1", "", "", name, {"subject": "failures", "message": "enough"})
    stream = io.StringIO()
    PlainProgress(stream).hear(told)
    LiveProgress(Console(file=stream, width=80)).hear(told)
    assert stream.getvalue() == "enough\nenough\n"


def test_json_data_cannot_replace_the_keys() -> None:
    """Data with a key of the event's own doesn't forge where it comes from."""
    stream = io.StringIO()
    forged = Event(1.0, "run-1", "carbon", "facts", "log_line", {"host": "boron", "run": "x"})
    JsonProgress(stream).hear(forged)
    found = json.loads(stream.getvalue())
    assert (found["host"], found["run"]) == ("carbon", "run-1")


@settings(max_examples=50, deadline=None)
@given(st.text() | st.just(HOSTILE))
def test_live_lines_hold_nothing_that_moves_a_terminal(text: str) -> None:
    """A live view draws every kind of event, without the machine's own escapes."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system=None, width=200)
    progress = LiveProgress(console)
    with console.capture() as captured:
        for told in every_kind(text):
            progress.hear(told)
            console.print(progress)
    assert is_harmless(captured.get())


def test_a_live_view_has_a_line_a_host() -> None:
    """Each host has one line, and its outcome is what is left of it."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    progress = LiveProgress(console)
    with Live(progress, console=console, auto_refresh=False):
        progress.hear(event("stage_started", "switch"))
        data = msgspec.to_builtins(HostResult(Outcome.DEPLOYED))
        for host in ("carbon", "boron"):
            progress.hear(Event(time.time(), "run-1", host, "", "host_finished", data))
    assert [line.stage for line in progress.lines.values()] == ["deployed", "deployed"]
    assert "boron" in stream.getvalue()


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def interrupted(stream: Terminal) -> None:
    """Show an event, and be interrupted by the user."""
    with open_progress(as_json=False, stream=stream) as progress:
        progress.hear(event("stage_started", "switch"))
        raise KeyboardInterrupt


def test_an_exception_gives_the_terminal_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends a run, the cursor is shown again and nothing is swallowed."""
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt):
        interrupted(stream)
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")


@pytest.mark.parametrize(
    ("as_json", "kind"), [(True, JsonProgress), (False, PlainProgress)], ids=["json", "plain"]
)
def test_a_pipe_gets_lines(kind: type, *, as_json: bool) -> None:
    """What isn't a terminal gets plain lines, or JSON where it was asked for."""
    with open_progress(as_json=as_json, stream=io.StringIO()) as progress:
        assert isinstance(progress, kind)


def test_rich_is_imported_for_a_terminal_only() -> None:
    """A run in a pipeline doesn't pay for the live view."""
    code = (
        "import sys\n"
        "from orchestrator.cli.startup import quick_imports\n"
        "with quick_imports(): import orchestrator.cli.render.progress\n"
        "sys.exit('rich' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_who_has_nothing_to_do_imports_no_engine() -> None:
    """A deployment that finds its fleet unchanged pays for neither broker nor sessions."""
    engine = "{'celery', 'fabric', 'kombu', 'paramiko', 'redis'}"
    code = f"import sys, orchestrator.cli.deploy; sys.exit(bool({engine} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_summary_is_a_table() -> None:
    """One row a host with its change of system, and below it why a host isn't well."""
    ended = {
        "carbon": HostResult(
            Outcome.DEPLOYED,
            Variant.CUDA,
            Backend.CUDA,
            123.4,
            output("old"),
            output("new").replace("0000", "1111"),  # type: ignore[arg-type]
        ),
        "boron": HostResult(
            Outcome.FAILED, Variant.CPU, verdict=Verdict.NEEDS_HANDS, message=f"{HOSTILE}\nmore"
        ),
        "neon": HostResult(Outcome.UNREACHABLE, message="\n"),
    }
    text = summary(ended)
    assert is_harmless(text)
    lines = text.splitlines()
    assert lines[0].split() == ["host", "outcome", "variant", "backend", "tokens/s", "system"]
    assert lines[1].split() == [
        "carbon",
        "deployed",
        "cuda",
        "CUDA",
        "123.4",
        "00000000",
        "→",
        "11111111",
    ]
    assert "failed (needs hands)" in lines[2]
    assert lines[5].startswith("boron: ")
    assert lines[6].startswith("neon: ")
