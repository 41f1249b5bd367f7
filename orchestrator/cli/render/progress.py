"""What a run looks like: live lines, plain lines, or one JSON object a line."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import msgspec

from orchestrator.command import printable
from orchestrator.model.report import HostResult, Outcome
from orchestrator.model.stage import Stage
from orchestrator.model.store import store_hash, store_name
from orchestrator.stages.activate.reboot import changed_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table

    from orchestrator.model.event import Event
    from orchestrator.model.store import StorePath


class Progress(Protocol):
    """Something that shows events as they come."""

    def hear(self, event: Event) -> None:
        """Show one event."""
        ...


@contextmanager
def open_progress(*, as_json: bool, stream: TextIO | None = None) -> Iterator[Progress]:
    """Choose how a run is shown: JSON if asked for, live on a terminal, else plain."""
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
        with Live(progress, console=console, refresh_per_second=8, transient=True):
            yield progress


@dataclass(frozen=True, slots=True)
class JsonProgress:
    """One object a line: `ts, run, host, stage, event`, and what the event brings."""

    stream: TextIO

    def hear(self, event: Event) -> None:
        """Write the event."""
        flat = {
            "ts": round(event.ts, 3),
            "run": event.run,
            "host": event.host,
            "stage": event.stage,
            "event": event.event,
        }
        self.stream.write(msgspec.json.encode({**event.data, **flat}).decode() + "\n")
        self.stream.flush()


@dataclass(frozen=True, slots=True)
class PlainProgress:
    """One line for each event that a reader cares for, host and stage in front.

    `with_logs` shows the builds' own lines too.
    """

    stream: TextIO
    with_logs: bool = False

    def hear(self, event: Event) -> None:
        """Write the event's line, where it has one."""
        self.stream.write(
            "".join(f"{line}\n" for line in plain_lines(event, with_logs=self.with_logs))
        )
        self.stream.flush()


def plain_lines(event: Event, *, with_logs: bool = False) -> list[str]:
    """Give the lines of an event, none for what is only worth a record."""
    text = sentence(event, with_logs=with_logs)
    if not text:
        return []
    place = " ".join(part for part in (event.host, event.stage) if part)
    first, *others = text.splitlines()
    lines = [f"{place}: {first}" if place else first, *(f"  {line}" for line in others)]
    return [printable(line) for line in lines]


@dataclass(slots=True)
class _Line:
    stage: str = ""
    text: str = ""
    since: float = field(default_factory=time.monotonic)
    style: str = ""


class LiveProgress:
    """A line a host: its stage, how long it has been in it, the last thing it said.

    What went wrong is also printed above the lines, to stay there.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines: dict[str, _Line] = {}

    def hear(self, event: Event) -> None:
        """Take the event into its host's line."""
        style = _LASTING.get(event.event)
        if event.stage == Stage.DRY_ACTIVATE and event.event == "stage_finished":
            # What was asked for.
            style = ""
        if style is not None:
            for text in plain_lines(event):
                self.console.print(text, markup=False, highlight=False, style=style or None)
        if not event.host:
            return
        line = self.lines.setdefault(event.host, _Line())
        if event.stage and event.stage != line.stage:
            line.stage, line.since, line.text = event.stage, time.monotonic(), ""
        said = sentence(event, with_logs=True).split("\n")[0]
        line.text = printable(said) or line.text
        if event.event == "host_finished":
            result = msgspec.convert(event.data, HostResult)
            line.stage, line.text = result.outcome.value, printable(_speed(result))
            line.style = "green" if result.outcome.is_good else "red"

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


def _speed(result: HostResult) -> str:
    if result.message or result.backend is None:
        return result.message.split("\n")[0]
    return f"{result.backend}, {result.tokens_per_second} tokens/s"


_LASTING = {
    "stage_failed": "red",
    "budget_spent": "red",
    "batch_pause": "dim",
    "builder_lost": "yellow",
    "worker_lost": "yellow",
    "waits_for_lock": "yellow",
    "quarantined": "red",
    "queue_unserved": "yellow",
    "input_locked": "bold",
    "upgrades": "bold",
    "closure_size": "dim",
    "reboot_needed": "yellow",
    "lock_settled": "bold",
}
"""Events that stay on the screen, and their colour."""


_SPEAKING = frozenset(
    {
        *("builder_lost", "worker_lost", "message_refused", "waits_for_lock", "quarantined"),
        *("budget_spent", "batch_pause", "input_locked", "upgrades", "lock_settled"),
        "reboot_needed",
    }
)
"""Events whose message is all there is to say."""


def sentence(event: Event, *, with_logs: bool = False) -> str:
    """Say what happened; empty for what is only worth a record."""
    data = event.data
    text = ""
    match event.event:
        case "stage_started" if event.stage == Stage.BUILD:
            text = f"building {store_name(data['derivation']).removesuffix('.drv')}"
        case "stage_failed" | "queue_unserved":
            text = _failure(data)
        case kind if kind in _SPEAKING:
            text = str(data.get("message", ""))
        case "closure_size":
            text = _closure(data["before"], data["after"])
        case "progress" if with_logs:
            text = f"{data.get('bytes', 0) / 2**20:.0f} MiB"
        case "log_line" if with_logs:
            text = str(data.get("line", ""))
        case "stage_finished":
            text = _finished(event.stage, data)
        case "host_finished":
            result = msgspec.convert(data, HostResult)
            text = " ".join(part for part in (result.outcome.value, result.message) if part)
    return text


def _closure(before: int, after: int) -> str:
    mib = 2**20
    return f"closure {before / mib:.1f} → {after / mib:.1f} MiB ({(after - before) / mib:+.1f})"


def _failure(data: dict[str, Any]) -> str:
    lines = [str(data.get("message", "failed"))]
    lines += [f"| {line}" for line in data.get("last_lines", ())]
    if data.get("hint"):
        lines.append(f"next: {data['hint']}")
    return "\n".join(lines)


def _finished(stage: str, data: dict[str, Any]) -> str:
    report = data.get("report") or {}
    text = ""
    match stage:
        case Stage.VARIANT:
            warnings = "".join(f"\nwarning: {text}" for text in data.get("warnings", ()))
            text = f"{data.get('variant')}: {data.get('reason')}{warnings}"
        case Stage.PLAN:
            text = f"goes to {data.get('goes_to')}"
        case Stage.BUILD:
            name = store_name(report["output"])
            done = "was there" if report["was_valid"] else f"built in {report['seconds']:.1f} s"
            text = f"{name} {done}"
        case Stage.COPY_CLOSURE:
            size = report["copied_bytes"] / 2**20
            text = f"{report['copied_paths']} paths, {size:.0f} MiB, {report['route']}"
            if parts := report.get("reboot_for"):
                text += f"\nneeds a reboot: {changed_parts(parts)}"
        case _ if report:
            text = _changed(stage, report)
    return text


def _changed(stage: str, report: dict[str, Any]) -> str:
    """Say how a step ended that changes a host, or decides about it."""
    text = ""
    match stage:
        case Stage.SMOKE:
            text = _smoked(report)
        case Stage.HEALTH_CHECK:
            text = f"passed in {report['seconds']:.1f} s"
        case Stage.ROLLBACK:
            text = f"{report['verdict']}: {report['detail']}"
        case Stage.SWITCH:
            text = f"the new system runs{_units(report)}"
        case Stage.CONFIRM:
            text = "the new system is the boot default"
            if not report.get("boots"):
                text = "the new system stays until the next boot"
        case Stage.REBOOT:
            text = _rebooted(report)
        case Stage.BOOT:
            text = "the next boot gives the new system"
        case Stage.DRY_ACTIVATE:
            text = "\n".join(report["lines"])
    return text


def _smoked(report: dict[str, Any]) -> str:
    if not report["passed"]:
        return f"failed: {report['failure']}"
    return f"{report['backend']}, {report['tokens_per_second']} tokens/s"


def _rebooted(report: dict[str, Any]) -> str:
    if not report["changed"]:
        return "no reboot needed"
    healthy = ", and the health check passed" if report.get("health") else ""
    answers = f"its llama-cli answers{healthy}"
    return f"back in {report['seconds']:.0f} s; the new system is booted, {answers}"


def _units(report: dict[str, Any]) -> str:
    units = report.get("failed_units") or ()
    return f", with failed units: {', '.join(units)}" if units else ""


def summary(results: dict[str, HostResult]) -> str:
    """Render how a run ended as a table for a reader."""
    header = ("host", "outcome", "variant", "backend", "tokens/s", "system")
    rows = [header, *(_row(host, result) for host, result in results.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    notes = [
        f"{host}: {printable(result.message.splitlines()[0])}"
        for host, result in results.items()
        if result.message
    ]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _row(host: str, result: HostResult) -> tuple[str, ...]:
    speed = result.tokens_per_second
    outcome = result.outcome.value
    if result.verdict is not None and result.outcome is not Outcome.ROLLED_BACK:
        outcome = f"{outcome} ({result.verdict})"
    return (
        host,
        outcome,
        result.variant or "-",
        result.backend or "-",
        f"{speed:g}" if speed is not None else "-",
        change(result.previous, result.current),
    )


def change(previous: StorePath | None, current: StorePath | None) -> str:
    """Render from which system to which, shortly."""

    def short(path: StorePath | None) -> str:
        return store_hash(path)[:8] if path else "none"

    if previous == current:
        return short(current)
    return f"{short(previous)} → {short(current)}"
