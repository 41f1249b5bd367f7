"""What a run looks like: live lines, plain lines, or one JSON object a line."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

import msgspec

from orchestrator.cli.render.tables import speed
from orchestrator.command import printable
from orchestrator.model.event import (
    BatchPause,
    BudgetSpent,
    BuilderLost,
    ClosureSize,
    DerivationsSent,
    DryActivated,
    Evaluated,
    FactsRead,
    HostFinished,
    InputLocked,
    LockSettled,
    LogLine,
    MessageRefused,
    Progress,
    Quarantined,
    QueueUnserved,
    RebootNeeded,
    RunFinished,
    StageFailed,
    StageStarted,
    StoreUnknown,
    Upgrades,
    WaitsForLock,
    WorkerLost,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from orchestrator.model.event import Event, EventBody


class ShowsEvents(Protocol):
    """Something that shows events as they come."""

    def on_event(self, event: Event) -> None:
        """Show one event."""
        ...

    def stepping_aside(self) -> AbstractContextManager[object]:
        """Leave the terminal to a question for the time of the context."""
        ...


@contextmanager
def open_progress(*, as_json: bool, stream: TextIO | None = None) -> Iterator[ShowsEvents]:
    """Choose how a run is shown: JSON if asked for, live on a terminal, otherwise plain."""
    stream = stream or sys.stdout
    if as_json:
        yield JsonProgress(stream)
    elif not stream.isatty():
        yield PlainProgress(stream)
    else:
        # rich takes a tenth of a second to import, which only a terminal pays.
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live  # noqa: PLC0415

        console = Console(file=stream)
        if console.is_dumb_terminal:
            yield PlainProgress(stream)
            return
        progress = LiveProgress(console)
        with Live(progress, console=console, refresh_per_second=8, transient=True) as live:
            progress.live = live
            yield progress


@dataclass(frozen=True, slots=True)
class JsonProgress:
    """One object a line: `ts, run, host, stage, event`, and the fields of the kind."""

    stream: TextIO

    def on_event(self, event: Event) -> None:
        """Write the event."""
        self.stream.write(msgspec.json.encode(event.line()).decode() + "\n")
        self.stream.flush()

    def stepping_aside(self) -> AbstractContextManager[object]:
        """Write on: a question goes to standard error."""
        return nullcontext()


@dataclass(frozen=True, slots=True)
class PlainProgress:
    """One line for each event that a reader cares about, host and stage in front.

    `with_logs` shows the builds' own lines too.
    """

    stream: TextIO
    with_logs: bool = False

    def on_event(self, event: Event) -> None:
        """Write the event's line, if it has one."""
        self.stream.write(
            "".join(f"{line}\n" for line in plain_lines(event, with_logs=self.with_logs))
        )
        self.stream.flush()

    def stepping_aside(self) -> AbstractContextManager[object]:
        """Write on: lines don't move."""
        return nullcontext()


def plain_lines(event: Event, *, with_logs: bool = False) -> list[str]:
    """Return the lines of an event, none for what is only worth a record."""
    if not is_shown(event.body, with_logs=with_logs):
        return []
    place = " ".join(part for part in (event.host, event.stage) if part)
    first, *others = event.body.sentence.splitlines() or [""]
    lines = [f"{place}: {first}" if place else first, *(f"  {line}" for line in others)]
    return [printable(line) for line in lines]


def is_shown(body: EventBody, *, with_logs: bool = False) -> bool:
    """Whether a reader cares about an event; `with_logs` also about what goes on in a stage."""
    if isinstance(body, StageStarted):
        return body.derivation is not None
    if isinstance(body, LogLine | Progress):
        return with_logs
    return not isinstance(body, _ONLY_RECORDED)


_ONLY_RECORDED = (FactsRead, Evaluated, DerivationsSent, StoreUnknown, RunFinished)


@dataclass(slots=True)
class _Line:
    stage: str = ""
    text: str = ""
    since: float = field(default_factory=time.monotonic)
    style: str = ""


class LiveProgress:
    """A line a host: its stage, how long it has been in it, and its last event.

    What went wrong is also printed above the lines, to stay there.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines: dict[str, _Line] = {}
        self.live: Live | None = None

    @contextmanager
    def stepping_aside(self) -> Iterator[None]:
        """Take the lines off the screen for the time of the context."""
        if self.live is not None:
            self.live.stop()
        yield
        if self.live is not None:
            self.live.start(refresh=True)

    def on_event(self, event: Event) -> None:
        """Put the event into its host's line."""
        style = _LASTING.get(type(event.body))
        if style is not None:
            for text in plain_lines(event):
                self.console.print(text, markup=False, highlight=False, style=style or None)
        if not event.host:
            return
        line = self.lines.setdefault(event.host, _Line())
        if event.stage and event.stage != line.stage:
            line.stage, line.since, line.text = event.stage, time.monotonic(), ""
        if is_shown(event.body, with_logs=True):
            line.text = printable(event.body.sentence.split("\n")[0]) or line.text
        if isinstance(event.body, HostFinished):
            result = event.body.result
            line.stage, line.text = result.outcome.value, printable(speed(result))
            line.style = "green" if result.is_good else "red"

    def __rich__(self) -> Table:
        """Draw the lines as they are now; rich asks for it several times a second."""
        from rich.table import Table  # noqa: PLC0415 - see open_progress
        from rich.text import Text  # noqa: PLC0415

        table = Table.grid(padding=(0, 2))
        for host, line in tuple(self.lines.items()):
            seconds = "" if line.style else f"{time.monotonic() - line.since:.0f}s"
            table.add_row(
                Text(printable(host), style="bold"),
                Text(printable(line.stage), style=line.style or "cyan"),
                Text(seconds, style="dim"),
                Text(line.text, overflow="ellipsis", no_wrap=True),
            )
        return table


_LASTING: dict[type[EventBody], str] = {
    StageFailed: "red",
    # It is what was asked for, in no colour.
    DryActivated: "",
    BudgetSpent: "red",
    BatchPause: "dim",
    BuilderLost: "yellow",
    WorkerLost: "yellow",
    WaitsForLock: "yellow",
    Quarantined: "red",
    QueueUnserved: "yellow",
    MessageRefused: "yellow",
    InputLocked: "bold",
    Upgrades: "bold",
    ClosureSize: "dim",
    RebootNeeded: "yellow",
    LockSettled: "bold",
}
"""Events that stay on the screen, and their colour."""
