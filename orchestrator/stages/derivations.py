"""Derivations: what building each asks of a builder, read from the derivations themselves.

One round trip to the evaluator, whose store has them. Their files are read, for
Nix's commands don't agree: `nix derivation show` prints another JSON from version
to version, and `nix-store --query --binding` knows nothing of structured attributes.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING

from orchestrator.command import script
from orchestrator.errors import PayloadError
from orchestrator.model.store import DerivationPath, parse_derivation_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.command import Command
    from orchestrator.model.plan import Evaluation
    from orchestrator.transport.shell import Shell

_ASK_SECONDS = 60.0
_BINDING = re.compile(r'\("(requiredSystemFeatures|__json)","((?:[^"\\]|\\.)*)"\)')
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}

Features = dict[DerivationPath, frozenset[str]]


def derivations_command(derivations: Iterable[DerivationPath]) -> Command:
    """Give the command that asks what derivations need."""
    text = files("orchestrator.stages").joinpath("derivations.sh").read_text()
    stdin = "".join(f"{derivation}\n" for derivation in derivations).encode()
    return replace(script(text, timeout=_ASK_SECONDS), stdin=stdin)


async def ask_derivations(shell: Shell, evaluations: Iterable[Evaluation]) -> Features:
    """Ask the evaluator behind `shell` which system features each derivation requires.

    Raises:
        CommandError: it can't be asked.
        PayloadError: it answers something else.
    """
    derivations = dict.fromkeys(
        derivation
        for one in evaluations
        for derivation in (one.llama_drv, one.toplevel_drv)
        if derivation is not None
    )
    result = await shell.run(derivations_command(derivations))
    return parse_derivations(result.check("plan", "its derivations can't be read").stdout)


def parse_derivations(text: str) -> Features:
    """Read what `derivations.sh` prints.

    Raises:
        PayloadError: it is something else.
    """
    found: Features = {}
    last = None
    for line in text.splitlines():
        kind, _, path = line.partition(" ")
        if kind == "derivation":
            last = parse_derivation_path(path)
            found[last] = frozenset()
        elif (binding := _BINDING.fullmatch(line)) and last is not None:
            found[last] |= _features(binding[1], _unescaped(binding[2]))
        else:
            message = f"a derivation was asked what it needs, and said {line[:120]!r}"
            raise PayloadError(message, stage="plan")
    return found


def _features(name: str, value: str) -> frozenset[str]:
    """Read a binding: words, or all attributes as JSON where they are structured."""
    if name == "requiredSystemFeatures":
        return frozenset(value.split())
    try:
        given = json.loads(value).get("requiredSystemFeatures", [])
    except (ValueError, AttributeError, RecursionError) as error:
        message = f"a derivation's attributes are no JSON: {value[:120]!r}"
        raise PayloadError(message, stage="plan") from error
    return frozenset(map(str, given if isinstance(given, list) else str(given).split()))


def _unescaped(text: str) -> str:
    """Undo the escapes of a string in a derivation's file."""
    return re.sub(r"\\(.)", lambda found: _ESCAPED.get(found[1], found[1]), text)
