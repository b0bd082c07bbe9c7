"""Questions that come while others are being answered are answered together."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest
from sima_runtime.coalescing import MOST_SLOW_ROUNDS, Coalescer
from sima_runtime.context import CallContext, current, enter
from sima_runtime.errors import (
    DeadlineExceededError,
    DependencyUnavailableError,
    OverloadedError,
    RetryLaterError,
    TooSlowError,
)

CALLER: ContextVar[str] = ContextVar("caller")


class Oracle:
    """Answers questions when it is told to, and remembers which came together."""

    def __init__(self) -> None:
        self.rounds: list[tuple[str, list[int]]] = []
        self.may_answer = asyncio.Event()

    async def answer(self, workspace: str, questions: Sequence[int]) -> list[int]:
        """Answer with the double; negative ones are refused."""
        self.rounds.append((workspace, list(questions)))
        await self.may_answer.wait()
        if bad := [question for question in questions if question < 0]:
            raise ValueError(str(bad[0]))
        return [2 * question for question in questions]


async def asked(coalescer: Coalescer[int, int], *questions: int, workspace: str = "w") -> list[asyncio.Task[int]]:
    """Ask each in a task of its own, until all wait."""
    tasks = [asyncio.create_task(coalescer.ask(workspace, question)) for question in questions]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_who_comes_meanwhile_is_answered_together() -> None:
    """The first ones are asked at once; the rest in one round, each with its own answer."""
    oracle = Oracle()
    tasks = await asked(Coalescer(oracle.answer, at_once=2), 1, 2, 3, 4, 5)
    oracle.may_answer.set()
    assert [await task for task in tasks] == [2, 4, 6, 8, 10]
    assert oracle.rounds == [("w", [1]), ("w", [2]), ("w", [3, 4, 5])]


async def test_a_round_is_bounded() -> None:
    """More than `most` become several rounds; nobody is forgotten."""
    oracle = Oracle()
    tasks = await asked(Coalescer(oracle.answer, at_once=1, most=2), *range(6))
    oracle.may_answer.set()
    assert [await task for task in tasks] == [0, 2, 4, 6, 8, 10]
    assert [questions for _, questions in oracle.rounds] == [[0], [1, 2], [3, 4], [5]]


async def test_workspaces_are_never_mixed() -> None:
    """Each has rounds of its own."""
    oracle = Oracle()
    coalescer = Coalescer(oracle.answer, at_once=1)
    tasks = await asked(coalescer, 1, 2, workspace="a") + await asked(coalescer, 3, 4, workspace="b")
    oracle.may_answer.set()
    assert [await task for task in tasks] == [2, 4, 6, 8]
    assert sorted(oracle.rounds) == [("a", [1]), ("a", [2]), ("b", [3]), ("b", [4])]


async def test_a_question_that_fails_fails_alone() -> None:
    """Its neighbours in the round are answered."""
    oracle = Oracle()
    tasks = await asked(Coalescer(oracle.answer, at_once=1), 1, 2, -3, 4)
    oracle.may_answer.set()
    assert [await tasks[0], await tasks[1], await tasks[3]] == [2, 4, 8]
    with pytest.raises(ValueError, match="-3"):
        await tasks[2]


async def test_who_gives_up_holds_up_nobody() -> None:
    """A caller that was cancelled is not asked for, and the others go on."""
    oracle = Oracle()
    tasks = await asked(Coalescer(oracle.answer, at_once=1), 1, 2, 3)
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    oracle.may_answer.set()
    assert [await tasks[0], await tasks[2]] == [2, 6]
    assert [questions for _, questions in oracle.rounds] == [[1], [3]]


async def test_a_round_belongs_to_the_first_who_waits() -> None:
    """Deadline and request id are those of a caller who is in it, not of one who was answered long ago."""
    seen: list[str] = []

    async def answer(_: str, questions: Sequence[int]) -> Sequence[int]:
        seen.append(CALLER.get())
        await asyncio.sleep(0)
        return questions

    coalescer: Coalescer[int, int] = Coalescer(answer, at_once=1)

    async def ask(name: str) -> None:
        CALLER.set(name)
        await coalescer.ask("w", 1)

    await asyncio.gather(ask("ada"), ask("ben"), ask("cleo"))
    assert seen == ["ada", "ben"]


@pytest.mark.parametrize(
    "error", [DependencyUnavailableError("identity"), OverloadedError("connections"), DeadlineExceededError()]
)
async def test_what_is_nobodys_fault_is_told_to_all_at_once(error: RetryLaterError) -> None:
    """Nobody is asked for alone while all is down, and who comes next does not wait for it."""
    rounds: list[int] = []

    async def answer(_: str, questions: Sequence[int]) -> Sequence[int]:
        rounds.append(len(questions))
        await asyncio.sleep(0)
        raise error

    tasks = await asked(Coalescer(answer), *range(5))
    assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 5
    assert rounds == [1, 4]


async def test_who_gives_up_while_each_is_asked_alone_is_skipped() -> None:
    """A question that nobody waits for any more costs nothing."""
    oracle = Oracle()
    tasks = await asked(Coalescer(oracle.answer), 1, -2, 3, 4)
    oracle.may_answer.set()
    with pytest.raises(ValueError, match="-2"):
        await tasks[1]
    tasks[3].cancel()
    assert await tasks[2] == 6
    await asyncio.gather(tasks[3], return_exceptions=True)
    assert [questions for _, questions in oracle.rounds] == [[1], [-2, 3, 4], [-2], [3]]


async def test_a_round_lasts_as_long_as_one_of_its_callers_waits() -> None:
    """Who has little time left takes none from the others."""
    seen: list[float | None] = []

    async def answer(_: str, questions: Sequence[int]) -> Sequence[int]:
        seen.append(current().deadline)
        await asyncio.sleep(0)
        return questions

    coalescer: Coalescer[int, int] = Coalescer(answer)

    async def ask(deadline: float | None) -> None:
        enter(CallContext("w", "request", deadline=deadline))
        await coalescer.ask("w", 1)

    await asyncio.gather(*[ask(deadline) for deadline in (5, 1, 9, 2)])
    await asyncio.gather(*[ask(deadline) for deadline in (5, 1, None, 2)])
    assert seen == [5, 9, 5, None]


async def test_a_slow_round_does_not_hold_up_the_others() -> None:
    """Who asks for much waits for it alone; of such rounds there are a few, and the next once one ends."""
    rounds: list[list[int]] = []
    ends: list[asyncio.Event] = []

    async def answer(_: str, questions: Sequence[int]) -> Sequence[int]:
        rounds.append(list(questions))
        if min(questions) < 0:
            ends.append(asyncio.Event())
            await ends[-1].wait()
        return questions

    coalescer: Coalescer[int, int] = Coalescer(answer, patience_seconds=0.01)
    slow = []
    for number in range(MOST_SLOW_ROUNDS):
        slow += await asked(coalescer, -1)
        assert await coalescer.ask("w", number) == number
    slow += await asked(coalescer, -1, 99)
    await asyncio.sleep(0.1)
    assert not slow[-1].done()
    assert rounds == [[-1], [0], [-1], [1], [-1], [2], [-1], [3], [-1]]
    ends[0].set()
    async with asyncio.timeout(10):
        assert await slow[-1] == 99
    for task in slow:
        task.cancel()


async def test_one_that_takes_too_long_fails_alone() -> None:
    """What the database gave up is no reason to refuse those who asked at the same time."""

    async def answer(_: str, questions: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(0)
        if min(questions) < 0:
            raise TooSlowError
        return questions

    tasks = await asked(Coalescer(answer), 1, 2, -3, 4)
    assert [await tasks[0], await tasks[1], await tasks[3]] == [1, 2, 4]
    with pytest.raises(TooSlowError):
        await tasks[2]
