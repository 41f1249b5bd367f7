"""What a benchmark found: figures of rounds, their ratios, a table, one line of JSON.

Machines are shared and their speed drifts, so contenders take turns and a ratio is
taken round by round; a time on its own says little.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The least, the middle and the most of some figures."""

    least: float
    median: float
    most: float

    def __str__(self) -> str:
        """Render it for a table: the middle, and in brackets how far it goes."""
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"

    def as_data(self) -> dict[str, float]:
        """Render it as JSON."""
        figures = {"min": self.least, "median": self.median, "max": self.most}
        return {name: round(figure, 4) for name, figure in figures.items()}


def spread(figures: Sequence[float]) -> Spread:
    """Summarise figures.

    Raises:
        ValueError: there are none.
    """
    if not figures:
        message = "no figures to summarise"
        raise ValueError(message)
    return Spread(min(figures), statistics.median(figures), max(figures))


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing measured for several contenders, in rounds.

    Args:
        what: what was measured, such as `copy to 8 targets`.
        unit: the unit of the figures, such as `s` or `tokens/s`.
        figures: per contender its figures, the same number of rounds each.
        base: the contender that the others are divided by.
    """

    what: str
    unit: str
    figures: Mapping[str, tuple[float, ...]]
    base: str

    def ratios(self) -> dict[str, Spread]:
        """Divide each other contender's figure by the base's of the same round."""
        base = self.figures[self.base]
        return {
            name: spread([one / other for one, other in zip(figures, base, strict=True)])
            for name, figures in self.figures.items()
            if name != self.base
        }


def say(text: str) -> None:
    """Print a line now."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def table(comparisons: Sequence[Comparison]) -> str:
    """Render comparisons for a reader, a line a contender."""
    rows = [("", "", "median (least to most)", "times the base's")]
    for comparison in comparisons:
        ratios = comparison.ratios()
        for name, figures in comparison.figures.items():
            ratio = "base" if name == comparison.base else str(ratios[name])
            rows.append((comparison.what, name, f"{spread(figures)} {comparison.unit}", ratio))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def json_line(name: str, comparisons: Sequence[Comparison], **facts: object) -> str:
    """Render the last line that a benchmark prints: every ratio with its spread."""
    ratios = {
        comparison.what: {
            f"{contender}/{comparison.base}": found.as_data()
            for contender, found in comparison.ratios().items()
        }
        for comparison in comparisons
    }
    return json.dumps({"bench": name, "ratios": ratios, **facts})
