"""One question for many: what is asked while others are being answered is asked together."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from functools import partial
from math import inf
from typing import Any, Generic, NamedTuple, TypeVar

from sima_runtime.context import current_or_none
from sima_runtime.errors import RetryLaterError, TooSlowError

#: Of all workspaces together: each takes a connection to the database.
MOST_SLOW_ROUNDS = 4

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class _Waiter(NamedTuple):
    question: Any
    answer: asyncio.Future[Any]
    context: Context

    def deadline(self) -> float:
        """When the caller stops waiting."""
        call = self.context.run(current_or_none)
        return inf if call is None or call.deadline is None else call.deadline


class Coalescer(Generic[Question, Answer]):
    """Gathers questions of calls.

    Who asks while little is going on is answered at once. Who asks while `at_once` rounds are under way waits for one
    to end, and is then answered together with all who waited, so the work for each becomes less the more there are. A
    round that takes long holds up the others no longer.
    """

    def __init__(
        self,
        answer: Callable[[str, Sequence[Question]], Awaitable[Sequence[Answer]]],
        *,
        at_once: int = 1,
        most: int = 100,
        patience_seconds: float = 0.1,
    ) -> None:
        """Set up.

        Args:
            answer: Answers questions of one workspace, in order. If it raises, each question is put to it alone, for it
                may be one of them that fails all; only a `RetryLaterError` is nobody's fault and holds for all, unless
                it is that the answer took too long.
            at_once: How many rounds of a workspace may be under way.
            most: At most so many questions in a round.
            patience_seconds: A round that lasts longer is not counted any more; at most `MOST_SLOW_ROUNDS` are not.
        """
        self._answer = answer
        self._at_once, self._most, self._patience = at_once, most, patience_seconds
        self._waiting: defaultdict[str, list[_Waiter]] = defaultdict(list)
        self._rounds: dict[str, set[asyncio.Task[None]]] = {}
        self._slow: set[asyncio.Task[None]] = set()

    async def ask(self, workspace: str, question: Question) -> Answer:
        """Return the answer to a question. Raises what answering it raises."""
        waiter = _Waiter(question, asyncio.get_running_loop().create_future(), copy_context())
        self._waiting[workspace].append(waiter)
        self._begin(workspace)
        answer: Answer = await waiter.answer
        return answer

    def _begin(self, workspace: str) -> None:
        """Begin a round with those who wait, unless there are none or enough rounds are under way."""
        rounds = self._rounds.setdefault(workspace, set())
        waiters = [each for each in self._waiting.pop(workspace, ()) if not each.answer.done()]
        if len(rounds) < self._at_once and waiters:
            begun, waiters = waiters[: self._most], waiters[self._most :]
            # What the round does counts as done for the one who waits longest (among equals the first): when that
            # deadline passes, no other is left.
            task = asyncio.create_task(self._round(workspace, begun), context=max(begun, key=_Waiter.deadline).context)
            rounds.add(task)
            task.add_done_callback(partial(self._ended, workspace))
            self._look_later(workspace, task)
        if waiters:
            self._waiting[workspace] = waiters
        elif not rounds:
            del self._rounds[workspace]

    def _look_later(self, workspace: str, task: asyncio.Task[None]) -> None:
        asyncio.get_running_loop().call_later(self._patience, self._outlasts, workspace, task)

    def _outlasts(self, workspace: str, task: asyncio.Task[None]) -> None:
        if task.done():
            return
        if len(self._slow) >= MOST_SLOW_ROUNDS:  # until one of those ends
            self._look_later(workspace, task)
            return
        self._slow.add(task)
        self._rounds[workspace].discard(task)
        self._begin(workspace)

    def _ended(self, workspace: str, task: asyncio.Task[None]) -> None:
        self._slow.discard(task)
        self._rounds.get(workspace, set()).discard(task)
        self._begin(workspace)

    async def _round(self, workspace: str, waiters: Sequence[_Waiter]) -> None:
        try:
            answers = await self._answer(workspace, [waiter.question for waiter in waiters])
        except Exception as error:  # noqa: BLE001  # whatever it was, it is handed to who asked
            if len(waiters) == 1 or (isinstance(error, RetryLaterError) and not isinstance(error, TooSlowError)):
                _fail(waiters, error)
            else:
                await self._one_by_one(workspace, waiters)
            return
        for waiter, answer in zip(waiters, answers, strict=True):
            if not waiter.answer.done():
                waiter.answer.set_result(answer)

    async def _one_by_one(self, workspace: str, waiters: Sequence[_Waiter]) -> None:
        for waiter in waiters:
            if not waiter.answer.done():
                await asyncio.create_task(self._round(workspace, [waiter]), context=waiter.context)


def _fail(waiters: Sequence[_Waiter], error: Exception) -> None:
    for waiter in waiters:
        if not waiter.answer.done():
            waiter.answer.set_exception(error)
