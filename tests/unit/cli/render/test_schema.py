"""The lines of `--json` are what their schema and docs/ say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator

from orchestrator.cli.render.schema import pages, schema
from orchestrator.model.event import event_now
from tests.events import bodies

if TYPE_CHECKING:
    from orchestrator.model.event import Body


def test_docs_are_what_the_code_makes() -> None:
    """The schema and the table of kinds are written anew with every change: `make docs`."""
    for file, text in pages().items():
        assert file.read_text() == text, f"{file.name} is not as generated: run `make docs`"


def test_the_schema_is_one() -> None:
    """A validator takes it."""
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("body", bodies("text"), ids=lambda body: type(body).__name__)
def test_each_line_is_as_its_kind_says(body: Body) -> None:
    """A line of each kind has the keys that the schema requires of it, and no other."""
    line = json.loads(json.dumps(event_now("run-1", "carbon", body.stage or "", body).line()))
    whole = schema()
    strict = {**whole["$defs"][type(body).__name__], "additionalProperties": False}
    own = Draft202012Validator({"$defs": whole["$defs"], **strict})
    assert [error.message for error in own.iter_errors(line)] == []
    assert Draft202012Validator(whole).is_valid(line)


@pytest.mark.parametrize(
    "line",
    [
        {"ts": 1.0, "run": "run-1", "host": "carbon", "stage": "facts"},
        {"ts": 1.0, "run": "run-1", "host": "carbon", "stage": "", "event": "danced"},
        {"ts": 1.0, "run": "run-1", "host": "", "stage": "smoke", "event": "stage_finished"},
    ],
    ids=["no event", "unknown event", "no report"],
)
def test_what_is_no_line_is_refused(line: dict[str, object]) -> None:
    """An unknown event and a step's end without its report are none."""
    assert not Draft202012Validator(schema()).is_valid(line)
