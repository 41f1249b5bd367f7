"""The document and the matrix say the same."""

from __future__ import annotations

from tests.fleet.faults.cells import CELLS, rows
from tests.lab.processes import REPOSITORY


def test_the_document_has_the_matrix() -> None:
    """docs/guarantees.md shows the very table that is tested."""
    text = (REPOSITORY / "docs" / "guarantees.md").read_text()
    assert "\n".join(rows()) in text


def test_no_cell_is_there_twice() -> None:
    """A fault at a moment has one cell, so that the table hides none."""
    assert len({(cell.fault, cell.moment) for cell in CELLS}) == len(CELLS)
