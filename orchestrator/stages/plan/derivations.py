"""Derivations: what building each asks for, read from the derivations themselves.

One round trip to the evaluator, whose store has them. Their files are read, for
Nix's commands don't agree: `nix derivation show` prints another JSON from version
to version, and `nix-store --query --binding` knows nothing of structured attributes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.errors import PayloadError
from orchestrator.model.stage import Stage
from orchestrator.model.store import (
    DerivationPath,
    StorePath,
    parse_derivation_path,
    parse_store_path,
)
from orchestrator.scripts import answer_of, script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.command import Command
    from orchestrator.model.plan import Evaluation
    from orchestrator.scripts import Answer
    from orchestrator.transport.shell import Shell

_ASK_SECONDS = 60.0
_BINDING = re.compile(r'\("(requiredSystemFeatures|__json)","((?:[^"\\]|\\.)*)"\)')
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Needs:
    """What building a derivation asks for.

    Args:
        features: system features that a builder must declare.
        inputs: what it is built from itself, not what that needs in turn; known
            for llama packages alone.
    """

    features: frozenset[str] = frozenset()
    inputs: frozenset[StorePath] = frozenset()


def derivations_command(
    derivations: Iterable[DerivationPath], packages: Iterable[DerivationPath]
) -> Command:
    """Build the command that asks what derivations need; the inputs, of `packages` only."""
    asked = script("stages/plan/derivations.sh", *packages, timeout=_ASK_SECONDS)
    return asked.with_lines(derivations)


async def ask_derivations(
    shell: Shell, evaluations: Iterable[Evaluation]
) -> dict[DerivationPath, Needs]:
    """Ask the evaluator behind `shell` what the derivations of all hosts need.

    Raises:
        CommandError: it can't be asked.
        PayloadError: it answers something else.
    """
    packages: dict[DerivationPath, None] = {}
    systems: dict[DerivationPath, None] = {}
    for one in evaluations:
        packages |= dict.fromkeys(filter(None, (one.llama_drv,)))
        systems |= dict.fromkeys(filter(None, (one.toplevel_drv,)))
    result = await shell.run(derivations_command(packages | systems, packages))
    return read_derivations(answer_of(result, Stage.PLAN, "its derivations can't be read"))


def read_derivations(answer: Answer) -> dict[DerivationPath, Needs]:
    """Read what `derivations.sh` answered.

    Raises:
        PayloadError: it is something else.
    """
    found: dict[DerivationPath, Needs] = {}
    last = None
    for key, value in answer.pairs:
        if key == "derivation":
            last = parse_derivation_path(value)
            found.setdefault(last, Needs())
        elif key == "input" and last is not None:
            inputs = found[last].inputs | {parse_store_path(value)}
            found[last] = replace(found[last], inputs=inputs)
        elif key == "binding" and last is not None and (binding := _BINDING.fullmatch(value)):
            features = found[last].features | _features(binding[1], _unescaped(binding[2]))
            found[last] = replace(found[last], features=features)
        elif key != "exit":
            message = f"a derivation was asked what it needs, and said {value[:120]!r}"
            raise PayloadError(message, stage=Stage.PLAN)
    return found


def _features(name: str, value: str) -> frozenset[str]:
    """Read a binding: words, or all attributes as JSON if they are structured."""
    if name == "requiredSystemFeatures":
        return frozenset(value.split())
    try:
        given = json.loads(value).get("requiredSystemFeatures", [])
    except (ValueError, AttributeError, RecursionError) as error:
        message = f"a derivation's attributes are no JSON: {value[:120]!r}"
        raise PayloadError(message, stage=Stage.PLAN) from error
    return frozenset(map(str, given if isinstance(given, list) else str(given).split()))


def _unescaped(text: str) -> str:
    """Undo the escapes of a string in a derivation's file."""
    return re.sub(r"\\(.)", lambda found: _ESCAPED.get(found[1], found[1]), text)
