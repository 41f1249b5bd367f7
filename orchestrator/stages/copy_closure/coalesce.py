"""Questions of several callers, asked together.

Whoever asks while an earlier question is on its way waits for it, and all who wait
are answered by the next one: sixteen hosts that want something of a builder cost it
about two commands, and none of them waits for a timer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Q = TypeVar("Q")
A = TypeVar("A")


class Coalescer(Generic[Q, A]):
    """A way to ask that takes many questions at a time; used on one event loop alone.

    Args:
        ask: takes all questions that wait, and gives one answer that holds for each.
    """

    def __init__(self, ask: Callable[[tuple[Q, ...]], Awaitable[A]]) -> None:
        self._ask = ask
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def answer(self, question: Q) -> A:
        """Ask, together with whoever else does.

        A caller that is cancelled takes nobody's answer away: the asking is a task of
        its own.

        Raises:
            Exception: what `ask` raises for this question alone.
        """
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask_on())
        return await answer

    async def _ask_on(self) -> None:
        """Ask for all who wait, until nobody does."""
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                await self._ask_for([one for one in asked if not one[1].done()])
        finally:
            self._asking = None

    async def _ask_for(self, asked: list[tuple[Q, asyncio.Future[A]]]) -> None:
        if not asked:
            return
        try:
            answer = await self._ask(tuple(question for question, _ in asked))
        except Exception as error:  # noqa: BLE001 - it is the callers' to handle
            if len(asked) > 1:
                # What is wrong with one question must not fail the others.
                await asyncio.gather(*(self._ask_for([one]) for one in asked))
            elif not asked[0][1].done():
                asked[0][1].set_exception(error)
            return
        except asyncio.CancelledError:
            for _, waiting in asked:
                waiting.cancel()
            raise
        for _, waiting in asked:
            if not waiting.done():
                waiting.set_result(answer)
