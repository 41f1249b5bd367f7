"""What a process keeps between steps, and what becomes of calls after its end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from orchestrator.deploy.perform.runtime import Runtime, RuntimeClosedError
from orchestrator.errors import OrchestrateError


async def answer() -> int:
    """Return something."""
    return 42


def test_a_closed_runtime_refuses_a_call_at_once() -> None:
    """A call after the end raises, and doesn't wait for an end that never comes."""
    runtime = Runtime()
    assert runtime.run(answer()) == 42
    runtime.close()
    refused: list[BaseException] = []

    def call() -> None:
        try:
            runtime.run(answer())
        except RuntimeClosedError as error:
            refused.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert len(refused) == 1


def test_a_refused_call_is_no_failure_of_its_step() -> None:
    """What a step makes of an error of ours is its failure, and this one must not be."""
    assert not issubclass(RuntimeClosedError, OrchestrateError)


def test_a_runtime_in_use_is_not_closed() -> None:
    """A step that still runs goes on, and what it calls next is not refused."""
    runtime = Runtime()
    begun, goes_on = threading.Event(), threading.Event()

    async def work() -> int:
        begun.set()
        await asyncio.to_thread(goes_on.wait, 5)
        return 1

    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(runtime.run(work())), daemon=True)
    thread.start()
    assert begun.wait(5)
    runtime.close()
    goes_on.set()
    thread.join(timeout=5)
    assert results == [1]
    assert runtime.run(answer()) == 42
    runtime.close()
    with pytest.raises(RuntimeClosedError):
        runtime.run(answer())
