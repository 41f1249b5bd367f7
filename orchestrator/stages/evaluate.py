"""Evaluate: what does Nix make of each host, and of the llama package in it?

A failed host is data: the others are evaluated all the same.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator import nix
from orchestrator.command import printable
from orchestrator.errors import StageError
from orchestrator.model.boot_part import BootPart
from orchestrator.model.plan import Evaluation, FlakeRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.command import CommandResult
    from orchestrator.transport.shell import Shell

_MESSAGE_LINES = 3

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
    result.check("evaluate", "the flake can't be locked")


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

    answers = await asyncio.gather(*(one(host) for host in hosts))
    return dict(zip(hosts, answers, strict=True))


async def _evaluate_host(shell: Shell, flake: FlakeRef, host: str) -> Evaluation:
    names = ("toplevel", "llama", *(f"boot.{part}" for part in BootPart))
    attributes = tuple(f'orchestrate."{host}".{name}' for name in names)
    command = nix.instantiate(flake.directory, attributes)
    result = await shell.run(command)
    if result.returncode != 0:
        raise _evaluation_failed(host, result)
    (toplevel_drv, toplevel), (llama_drv, llama), *boot = nix.parse_instantiated(result.stdout)
    # The flake gives the system itself for a part of which it knows nothing.
    known = zip(BootPart, (path for _, path in boot), strict=True)
    parts = {part: path for part, path in known if path != toplevel}
    return Evaluation(host, toplevel_drv, toplevel, llama_drv, llama, parts)


def _evaluation_failed(host: str, result: CommandResult) -> StageError:
    why = last_error(result.stderr)
    said = f"its configuration does not evaluate{': ' if why else ''}{why}"
    failure = result.failure("evaluate", said)
    failure.host = host
    failure.hint = failure.hint or "run the command with --show-trace"
    return failure


def last_error(stderr: str) -> str:
    """Give Nix's last `error:`, the cause: what stands above it is the way there.

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
