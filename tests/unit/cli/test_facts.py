"""What `facts --json` and `smoke --json` print of a host that can't be asked."""

from __future__ import annotations

import json

import msgspec

from orchestrator.cli import facts, smoke
from orchestrator.errors import CommandError
from tests.plans import facts as facts_of

ERROR = CommandError("it fails", host="carbon", stage="facts", command="uname", last_lines=("no",))


def test_facts_name_the_parts_of_an_error() -> None:
    """The text stays, and its parts stand beside it."""
    found = json.loads(msgspec.json.encode(facts.as_data("carbon", ERROR)))
    assert (found["host"], found["error"]) == ("carbon", str(ERROR))
    assert (found["failure"]["command"], found["failure"]["last_lines"]) == ("uname", ["no"])
    assert facts.as_data("carbon", facts_of("carbon"))["kernel"] == "6.12.0"


def test_smoke_names_the_parts_of_an_error() -> None:
    """`failure` is a text as in a report, and `error` has the parts."""
    found = json.loads(msgspec.json.encode(smoke.as_data("carbon", ERROR)))
    assert (found["passed"], found["failure"]) == (False, str(ERROR))
    assert found["error"]["stage"] == "facts"
    assert smoke.describe(ERROR).splitlines()[0] == "carbon: facts: it fails"
