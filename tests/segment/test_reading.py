"""Both feeds are read ahead, and in batches, without filling the memory."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any
from unittest.mock import Mock

import pytest
from sima_runtime.errors import DeadlineExceededError, OverloadedError
from sima_segment.inputs import Facts
from sima_segment.projection import FactPage, Position
from sima_segment.reading import Reading
from sima_segment.tails import Tail

from .builders import Happened, fact_page

#: A large page, and how many such are held at once.
LARGE, AT_ONCE = fact_page(Happened(1, (1,), properties=b"x" * 2**21)), 32


class Given:
    """A feed that has these pages, and then perhaps fails."""

    def __init__(self, pages: Sequence[Any] = (), error: Exception | None = None) -> None:
        self._pages, self._error = pages, error

    async def pages(self, *_: Any, **__: Any) -> AsyncGenerator[Any, None]:
        """Yield them."""
        for page in self._pages:
            yield page
        if self._error is not None:
            raise self._error


def reading(facts: Given) -> Any:
    """The batches of a feed of facts."""
    return Reading("w", facts, Given()).behind(Position("lineage", changes="c"), 1.0)  # type: ignore[arg-type]


async def test_batches_of_large_facts_are_small() -> None:
    """Not only their number counts, for one event may have a quarter of a megabyte."""
    batches = [len(facts) async for _, facts in reading(Given([LARGE] * 3 * AT_ONCE))]
    assert sum(batches) == 3 * AT_ONCE
    assert max(batches) <= AT_ONCE


async def test_what_is_read_ahead_has_a_size() -> None:
    """A feed of large facts waits until some are taken."""

    async def endless(_: str) -> AsyncGenerator[FactPage, None]:
        while True:
            yield LARGE

    tail = Tail(endless, asyncio.Event())
    tail.start("")
    for _ in range(2):
        await asyncio.sleep(0.05)
        assert AT_ONCE / 2 < len(tail.take()) <= AT_ONCE
    await tail.stop()


async def test_what_came_in_time_is_taken_in_though_the_rest_did_not() -> None:
    """Otherwise a slow feed would be read again and again from the same place."""
    batches = reading(Given([fact_page(cursor="f1"), fact_page(cursor="f2")], DeadlineExceededError()))
    assert [page.cursor for page in (await anext(batches))[1]] == ["f1", "f2"]
    with pytest.raises(DeadlineExceededError):
        await anext(batches)


async def test_a_service_that_is_overloaded_is_not_asked_again_at_once() -> None:
    """Who reads decides when to come again."""
    busy = Mock(stream=Mock(side_effect=Given(error=OverloadedError("connections")).pages))
    with pytest.raises(OverloadedError):
        await anext(Facts(busy).pages("w", "", until_now=True))
    assert busy.stream.call_count == 1
