"""The lines of `--json` as a JSON schema and as a table, made from the kinds of events.

`python -m orchestrator.cli.render.schema` writes both into docs/.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.model.event import KINDS
from orchestrator.model.stage import Stage

if TYPE_CHECKING:
    from orchestrator.model.event import EventBody

DOCS = Path(__file__).parents[3] / "docs"

_TABLE = re.compile(r"(?<=<!-- kinds -->\n).*?(?=<!-- /kinds -->)", re.DOTALL)


def schema() -> dict[str, Any]:
    """Return the schema of a line of `--json`."""
    _, shapes = msgspec.json.schema_components(KINDS, ref_template="#/$defs/{name}")
    lines = {kind.__name__: _line(kind, shapes) for kind in KINDS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of `orchestrate … --json` of a run",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in lines],
        "$defs": shapes | lines,
    }


def _line(kind: type[EventBody], shapes: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a kind's line: the envelope's keys, then the kind's."""
    own = shapes[kind.__name__]
    properties = {name: own["properties"][name] for name in own["properties"] if name != "type"}
    required = [name for name in own["required"] if name != "type"]
    # It is in the line only if there is one.
    properties["derivation"] = {"type": "string"}
    if kind.spread:
        spread = shapes[properties.pop(kind.spread)["$ref"].rpartition("/")[2]]
        properties |= spread["properties"]
        required = [*(name for name in required if name != kind.spread), *spread["required"]]
    properties |= {name: {"type": "string"} for name in kind.computed}
    envelope = _envelope(kind)
    return {
        "title": own["title"],
        "description": own["description"],
        "type": "object",
        "properties": envelope | properties | envelope,
        "required": list(dict.fromkeys((*envelope, *required, *kind.computed))),
    }


def _envelope(kind: type[EventBody]) -> dict[str, Any]:
    stage = {"const": kind.stage} if kind.stage else {"enum": ["", *Stage]}
    return {
        "ts": {"type": "number", "description": "seconds since the epoch"},
        "run": {"type": "string"},
        "host": {"type": "string", "description": "empty for the run as a whole"},
        "stage": {**stage, "description": "empty for the run as a whole"},
        "event": {"const": kind.event},
    }


def table() -> str:
    """Return a table of the kinds: name, stage, their own keys, what each says."""
    lines = schema()["$defs"]
    rows = [_row(kind, lines[kind.__name__]) for kind in KINDS]
    return "\n".join(("| event | stage | keys | |", "|---|---|---|---|", *rows, ""))


def _row(kind: type[EventBody], line: dict[str, Any]) -> str:
    keys = [key for key in line["properties"] if key not in ("derivation", *_envelope(kind))]
    named = ", ".join(f"`{key}`" for key in keys)
    stage = f"`{kind.stage}`" if kind.stage else ""
    first = line["description"].partition("\n")[0]
    return f"| `{kind.event}` | {stage} | {named} | {first} |"


def pages() -> dict[Path, str]:
    """Return the files in docs/ that follow from the kinds of events."""
    page = DOCS / "events.md"
    return {
        DOCS / "events.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        page: _TABLE.sub(lambda _: table(), page.read_text()),
    }


if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text)
