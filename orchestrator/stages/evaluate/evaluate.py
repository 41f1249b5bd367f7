"""Evaluate: what does Nix make of each host, and of the llama package in it?

A failed host is data: the others are evaluated all the same.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import msgspec

from orchestrator import nix
from orchestrator.command import printable
from orchestrator.errors import PayloadError, StageError
from orchestrator.model.boot_part import BootPart
from orchestrator.model.plan import Evaluation, FlakeRef
from orchestrator.model.stage import Stage
from orchestrator.model.store import parse_derivation_path, parse_store_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.command import CommandResult
    from orchestrator.model.store import StorePath
    from orchestrator.transport.shell import Shell

_MESSAGE_LINES = 3

_PLACEHOLDER = re.compile(r"/[0-9a-df-np-sv-z]{52}")
"""What stands for an output whose path isn't known yet (Nix's manual, `placeholder`)."""

PROCESS_MIB = 600
"""Memory that the evaluation of one server host takes; 552 MB were measured."""


def process_limit(cpu_count: int, memory_available_mib: int, budget_mib: int | None) -> int:
    """Decide how many evaluations run at a time.

    One process a host: a process that evaluates many frees none of their
    memory, and saves no time.

    Args:
        cpu_count: processors of the evaluator.
        memory_available_mib: what it has free now.
        budget_mib: what the inventory allows; None for three quarters of what
            is free.
    """
    budget = budget_mib if budget_mib is not None else memory_available_mib * 3 // 4
    return max(1, min(cpu_count, budget // PROCESS_MIB))


async def lock_flake(shell: Shell, flake: FlakeRef, inputs: tuple[str, ...]) -> None:
    """Take `inputs` of the flake as they are now; leave every other input locked.

    Raises:
        CommandError: Nix can't lock it.
    """
    result = await shell.run(nix.flake_update(flake.directory, inputs))
    result.check(Stage.EVALUATE, "the flake can't be locked")


async def evaluate(
    shell: Shell, flake: FlakeRef, hosts: Sequence[str], processes: int
) -> dict[str, Evaluation | StageError]:
    """Evaluate `hosts`, at most `processes` at a time.

    Returns:
        an evaluation for each host, or the error that it failed with.
    """
    slots = asyncio.Semaphore(processes)

    async def one(host: str) -> Evaluation | StageError:
        async with slots:
            try:
                return await _evaluate_host(shell, flake, host)
            except StageError as error:
                return error
            except PayloadError as error:
                return StageError(error.message, hint=error.hint, host=host, stage=Stage.EVALUATE)

    answers = await asyncio.gather(*(one(host) for host in hosts))
    return dict(zip(hosts, answers, strict=True))


async def _evaluate_host(shell: Shell, flake: FlakeRef, host: str) -> Evaluation:
    result = await instantiated(shell, flake, f'orchestrate."{host}".answer')
    if result.returncode != 0:
        raise _evaluation_failed(host, result)
    ((answer, _),) = nix.parse_instantiated(result.stdout)
    read = await shell.run(nix.binding_of(answer, "answer"))
    return parse_answer(
        host, read.check(Stage.EVALUATE, "what Nix made of it can't be read").stdout
    )


async def instantiated(shell: Shell, flake: FlakeRef, attribute: str) -> CommandResult:
    """Instantiate an attribute of the flake, as plain Nix would.

    What it imports from a derivation is fetched where a cache has it, and built where none
    has; a flake that imports nothing so asks no cache.
    """
    result = await shell.run(nix.instantiate(flake.directory, (attribute,)))
    if result.returncode != 0 and nix.wants_to_build(result.stderr):
        return await shell.run(nix.instantiate(flake.directory, (attribute,), realises=True))
    return result


class _Paths(msgspec.Struct, frozen=True):
    drv: str
    out: str


class _Answer(msgspec.Struct, frozen=True):
    toplevel: _Paths
    llama: _Paths
    boot: dict[str, str | None]
    inhibitors: dict[str, str]


def parse_answer(host: str, text: str) -> Evaluation:
    """Read what the generated flake says of a host. Pure.

    Raises:
        PayloadError: it is anything else.
    """
    try:
        found = msgspec.json.decode(text, type=_Answer)
    except msgspec.DecodeError as error:
        message = f"expected what the flake makes of it, found {text[:120]!r}: {error}"
        raise PayloadError(message, host=host, stage=Stage.EVALUATE) from error
    for output in (found.toplevel.out, found.llama.out):
        if _PLACEHOLDER.fullmatch(output):
            raise PayloadError(
                message="it is content-addressed (__contentAddressed, or"
                " nixpkgs.config.contentAddressedByDefault): where it will be isn't known before"
                " it is built",
                hint="leave that out for this machine",
                host=host,
                stage=Stage.EVALUATE,
            )
    return Evaluation(
        host,
        parse_derivation_path(found.toplevel.drv),
        parse_store_path(found.toplevel.out),
        parse_derivation_path(found.llama.drv),
        parse_store_path(found.llama.out),
        {part: path for part in BootPart if (path := _known(found.boot.get(part)))},
        found.inhibitors,
    )


def _known(text: str | None) -> StorePath | None:
    """Return a store path; whatever else somebody's kernel may be is not known."""
    try:
        return parse_store_path(text or "")
    except PayloadError:
        return None


def _evaluation_failed(host: str, result: CommandResult) -> StageError:
    why = last_error(result.stderr)
    said = f"its configuration does not evaluate{': ' if why else ''}{why}"
    failure = result.failure(Stage.EVALUATE, said)
    failure.host = host
    failure.hint = failure.hint or "run the command with --show-trace"
    return failure


def last_error(stderr: str) -> str:
    """Return Nix's last `error:`, the cause: what stands above it is the way there.

    A message of several lines, as NixOS's failed assertions are, begins on the
    line after.
    """
    said = [line.strip() for line in stderr.splitlines()]
    begins = [number for number, line in enumerate(said) if line.startswith("error:")]
    for number in reversed(begins):
        first = said[number].removeprefix("error:").strip()
        message = [first] if first else [line for line in said[number + 1 :] if _tells(line)]
        if message:
            return printable(" ".join(message[:_MESSAGE_LINES]))
    return ""


def _tells(line: str) -> bool:
    """Whether a line is neither empty nor of the trace around a message."""
    return bool(line) and not line.startswith(("\u2026", "at ", "(stack trace", "warning:"))
