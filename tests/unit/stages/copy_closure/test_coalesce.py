"""Questions asked together: few calls, and nobody suffers for another one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from orchestrator.stages.copy_closure.coalesce import Coalescer

Ask = Callable[[tuple[int, ...]], Awaitable[set[int]]]


def asking(calls: list[tuple[int, ...]], refused: int | None = None) -> Ask:
    """Give a way to ask that takes a while, notes its calls, and refuses one question."""

    async def ask(questions: tuple[int, ...]) -> set[int]:
        calls.append(questions)
        await asyncio.sleep(0.01)
        if refused in questions:
            raise ValueError(refused)
        return set(questions)

    return ask


def test_who_comes_meanwhile_is_answered_by_the_next_call() -> None:
    """Sixteen that come one after another while the first is asked for cost two calls."""
    calls: list[tuple[int, ...]] = []

    async def all_of_them() -> list[set[int]]:
        joint = Coalescer(asking(calls))
        first = asyncio.ensure_future(joint.answer(0))
        await asyncio.sleep(0.001)
        others = await asyncio.gather(*(joint.answer(number) for number in range(1, 16)))
        return [await first, *others]

    answers = asyncio.run(all_of_them())
    assert calls == [(0,), tuple(range(1, 16))]
    assert all(number in answer for number, answer in enumerate(answers))


def test_a_later_question_is_asked_anew() -> None:
    """An answer is of its own time: nothing is kept."""
    calls: list[tuple[int, ...]] = []

    async def twice() -> None:
        joint = Coalescer(asking(calls))
        await joint.answer(1)
        await joint.answer(1)

    asyncio.run(twice())
    assert calls == [(1,), (1,)]


def test_a_failure_is_of_the_one_that_it_is_about() -> None:
    """Where a joint call fails, each is asked alone, and one alone has the error."""
    calls: list[tuple[int, ...]] = []

    async def three() -> list[set[int] | BaseException]:
        joint = Coalescer(asking(calls, refused=2))
        asked = (joint.answer(number) for number in (1, 2, 3))
        return await asyncio.gather(*asked, return_exceptions=True)

    one, two, three_ = asyncio.run(three())
    assert (one, three_) == ({1}, {3})
    assert isinstance(two, ValueError)
    assert calls == [(1, 2, 3), (1,), (2,), (3,)]


@pytest.mark.parametrize("leaver", [0, 1])
def test_who_leaves_takes_nobody_along(leaver: int) -> None:
    """A caller is cancelled before or while it is asked for; the others are answered."""

    async def leave() -> list[set[int] | BaseException]:
        joint = Coalescer(asking([]))
        first = asyncio.ensure_future(joint.answer(0))
        await asyncio.sleep(0.001)
        tasks = [first, *(asyncio.ensure_future(joint.answer(number)) for number in (1, 2))]
        await asyncio.sleep(0.001)
        tasks[leaver].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(leave())
    assert isinstance(answers.pop(leaver), asyncio.CancelledError)
    assert all(isinstance(answer, set) for answer in answers)


def test_nobody_is_left_waiting_where_the_asking_ends() -> None:
    """Where everybody has left, nothing more is asked, and the next question is."""
    calls: list[tuple[int, ...]] = []

    async def leave_and_come() -> set[int]:
        asked, answered = asyncio.Event(), asyncio.Event()

        async def ask(numbers: tuple[int, ...]) -> set[int]:
            calls.append(numbers)
            asked.set()
            await answered.wait()
            return set(numbers)

        joint = Coalescer(ask)
        first = asyncio.ensure_future(joint.answer(0))
        await asked.wait()
        second = asyncio.ensure_future(joint.answer(1))
        await asyncio.sleep(0)
        second.cancel()
        answered.set()
        await first
        await asyncio.wait({second})
        return await joint.answer(2)

    assert asyncio.run(leave_and_come()) == {2}
    assert calls == [(0,), (2,)]
