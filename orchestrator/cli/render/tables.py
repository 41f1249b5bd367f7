"""How a run ended, in lines for a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.command import printable
from orchestrator.model.report import HostResult, Outcome
from orchestrator.model.store import store_hash

if TYPE_CHECKING:
    from orchestrator.errors import Failure
    from orchestrator.model.store import StorePath


def summary(results: dict[str, HostResult]) -> str:
    """Render how a run ended as a table, and below it why a host isn't well."""
    header = ("host", "outcome", "variant", "backend", "tokens/s", "system")
    rows = [header, *(_row(host, result) for host, result in results.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    notes = [
        f"{host}: {printable(explained(host, result).split(chr(10))[0])}"
        for host, result in results.items()
        if result.message
    ]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def explained(host: str, result: HostResult) -> str:
    """Return a host's message, with the stage in front if it is a failure's own.

    The place that failed is named if it is another one than the host, as a builder is.
    """
    failure = result.failure
    if failure is None or failure.message != result.message:
        return result.message
    elsewhere = failure.host if failure.host != host else ""
    return ": ".join(part for part in (elsewhere, failure.stage, result.message) if part)


def failure_lines(failure: Failure) -> list[str]:
    """Render a failure with all its parts, safe for a terminal."""
    return [printable(line) for line in str(failure).splitlines()]


def _row(host: str, result: HostResult) -> tuple[str, ...]:
    tokens = result.tokens_per_second
    outcome = result.outcome.value
    if result.verdict is not None and result.outcome is not Outcome.ROLLED_BACK:
        outcome = f"{outcome} ({result.verdict})"
    return (
        host,
        outcome,
        result.variant or "-",
        result.backend or "-",
        f"{tokens:g}" if tokens is not None else "-",
        change(result.previous, result.current),
    )


def change(previous: StorePath | None, current: StorePath | None) -> str:
    """Render from which system to which, in short."""

    def short(path: StorePath | None) -> str:
        return store_hash(path)[:8] if path else "none"

    if previous == current:
        return short(current)
    return f"{short(previous)} → {short(current)}"


def speed(result: HostResult) -> str:
    """Render how fast a host's llama-cli answered, or why there is more to say."""
    if result.message or result.backend is None:
        return result.message.split("\n")[0]
    return f"{result.backend}, {result.tokens_per_second} tokens/s"
