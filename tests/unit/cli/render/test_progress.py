"""What a run looks like: no remote text moves the terminal, every line has its shape."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING

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
    plain_lines,
)
from orchestrator.errors import Failure
from orchestrator.model.event import (
    BatchPause,
    BudgetSpent,
    Event,
    HostFinished,
    LogLine,
    StageFailed,
    StageStarted,
    event_now,
)
from orchestrator.model.report import HostResult, Outcome
from tests.events import bodies

if TYPE_CHECKING:
    from orchestrator.model.event import Body

HOSTILE = "\x1b[2J\x1b]0;title\x07\r\x9b31m\u202eevil\u2028line\x00\x7f\x85end"


def event(body: Body, stage: str = "") -> Event:
    """Return an event of carbon."""
    return Event(1700000000.12345, "run-1", "carbon", stage, body)


def every_kind(text: str) -> tuple[Event, ...]:
    """Return one event of each kind, with `text` wherever a host could put it."""
    return tuple(event(body, body.stage or "") for body in bodies(text))


def is_harmless(text: str) -> bool:
    """Whether nothing in a text moves a cursor or turns the writing round."""
    return all(char.isprintable() or char in "\t\n" for char in text)


@settings(max_examples=50, deadline=None)
@given(st.text() | st.just(HOSTILE))
def test_plain_lines_hold_nothing_that_moves_a_terminal(text: str) -> None:
    """Whatever a machine says, a plain line has printable characters alone."""
    stream = io.StringIO()
    for shown in every_kind(text):
        PlainProgress(stream).on_event(shown)
    assert is_harmless(stream.getvalue())


def test_plain_lines_say_where_and_what() -> None:
    """Host and stage come first; the end of a failed command and the hint follow."""
    stream = io.StringIO()
    failure = Failure("no", hint="look", last_lines=("a", "b"))
    PlainProgress(stream).on_event(event(StageFailed(failure), "switch"))
    PlainProgress(stream).on_event(event(LogLine("cc -c x.c"), "build"))
    assert stream.getvalue().splitlines() == [
        "carbon switch: no",
        "  | a",
        "  | b",
        "  next: look",
    ]
    PlainProgress(stream, with_logs=True).on_event(event(LogLine("cc -c x.c"), "build"))
    assert stream.getvalue().endswith("\ncarbon build: cc -c x.c\n")


@settings(max_examples=50, deadline=None)
@given(st.text() | st.just(HOSTILE))
def test_json_lines_are_one_object_each(text: str) -> None:
    """Every event is one line that parses, with its five keys and the fields of its kind."""
    stream = io.StringIO()
    events = every_kind(text)
    for shown in events:
        JsonProgress(stream).on_event(shown)
    lines = stream.getvalue().split("\n")
    assert lines.pop() == ""
    assert len(lines) == len(events)
    for line, shown in zip(lines, events, strict=True):
        found = json.loads(line)
        assert {"ts", "run", "host", "stage", "event"} <= found.keys()
        assert (found["run"], found["host"], found["event"]) == ("run-1", "carbon", shown.event)
        assert found == json.loads(json.dumps(shown.line()))


@pytest.mark.parametrize("body", [BudgetSpent("failures", "enough"), BatchPause(1, 30.0)])
def test_what_holds_a_whole_run_back_stays_on_the_screen(body: Body) -> None:
    """A spent budget and a pause are of no host; they are shown above the live lines too."""
    of_run = Event(1.0, "run-1", "", "", body)
    stream = io.StringIO()
    PlainProgress(stream).on_event(of_run)
    LiveProgress(Console(file=stream, width=80)).on_event(of_run)
    assert stream.getvalue() == f"{body.sentence}\n" * 2


def test_a_failure_cannot_replace_the_keys() -> None:
    """A failure with a host of its own doesn't forge where its event comes from."""
    stream = io.StringIO()
    failure = Failure("no", host="boron", stage="smoke")
    JsonProgress(stream).on_event(Event(1.0, "run-1", "carbon", "facts", StageFailed(failure)))
    found = json.loads(stream.getvalue())
    assert (found["host"], found["stage"]) == ("carbon", "facts")


def test_only_what_is_asked_for_shows_what_goes_on_in_a_stage() -> None:
    """Log lines and bytes are for `logs`; what is only worth a record is never in words."""
    shown = {body.event for body in bodies("text") if plain_lines(event(body))}
    with_logs = {body.event for body in bodies("text") if plain_lines(event(body), with_logs=True)}
    assert with_logs - shown == {"log_line", "progress"}
    assert {body.event for body in bodies("text")} - with_logs == {"store_unknown", "run_finished"}


@settings(max_examples=50, deadline=None)
@given(st.text() | st.just(HOSTILE))
def test_live_lines_hold_nothing_that_moves_a_terminal(text: str) -> None:
    """A live view draws every kind of event, without the machine's own escapes."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system=None, width=200)
    progress = LiveProgress(console)
    with console.capture() as captured:
        for shown in every_kind(text):
            progress.on_event(shown)
            console.print(progress)
    assert is_harmless(captured.get())


def test_a_live_view_has_a_line_a_host() -> None:
    """Each host has one line, and its outcome is what is left of it."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    progress = LiveProgress(console)
    with Live(progress, console=console, auto_refresh=False):
        progress.on_event(event(StageStarted(), "switch"))
        deployed = HostFinished(HostResult(Outcome.DEPLOYED))
        for host in ("carbon", "boron"):
            progress.on_event(event_now("run-1", host, "", deployed))
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
        progress.on_event(event(StageStarted(), "switch"))
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
