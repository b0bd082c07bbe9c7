"""Feeds lose no row, whatever the order in which transactions begin, count and commit."""

import asyncio
import base64
import struct
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sima_runtime.cursors import START, Cursor, Horizon, parse_token, token
from sima_runtime.database import execute, fetch
from sima_runtime.epochs import begin_epoch
from sima_runtime.errors import CursorExpiredError, DependencyUnavailableError, InvalidFieldsError
from sima_runtime.feeds import FeedPage
from sima_runtime.server import running
from sima_runtime.supervision import supervise

from .conftest import LONG, Numbers, eventually


async def next_pages(pages: AsyncIterator[FeedPage[list[int]]], count: int) -> list[list[int]]:
    """The next pages with rows until there are so many; a transaction elsewhere on the server may split them."""
    found: list[list[int]] = []
    async with asyncio.timeout(LONG):
        async for page in pages:
            found += [page.items] if page.items else []
            if sum(map(len, found)) >= count:
                return found
    raise AssertionError("the stream ended")


async def next_rows(pages: AsyncIterator[FeedPage[list[int]]], count: int = 1) -> list[int]:
    """The next rows, so many at least."""
    return [number for page in await next_pages(pages, count) for number in page]


async def test_interleaved_transactions_lose_no_row(numbers: Numbers, workspace: str) -> None:
    """A row whose transaction is older but whose sequence number is younger, and that commits last, still arrives."""
    async with numbers.database.transaction() as first:
        await execute(first, "SELECT pg_current_xact_id()")  # the smaller xid ...
        async with numbers.database.transaction() as second:
            await numbers.write(second, workspace, 2)  # ... but the larger one has the smaller seq, and commits first
        pages = numbers.feed.pages("", numbers.read(workspace), workspace=workspace)
        assert (await anext(pages)).items == []
        await numbers.write(first, workspace, 1)
    async with aclosing(pages):
        assert await next_rows(pages, 2) == [1, 2]
    async with numbers.database.statement() as connection:
        rows = await fetch(connection, "SELECT number FROM numbers ORDER BY seq")
    assert rows == [(2,), (1,)]


async def test_old_transaction_delays_and_loses_nothing(numbers: Numbers, workspace: str) -> None:
    """While a writer of before is open, later rows wait; once it ends without a row, they all arrive, in order."""
    async with aclosing(numbers.feed.pages("", numbers.read(workspace), workspace=workspace)) as pages:
        async with numbers.database.transaction() as old:
            await execute(old, "SELECT pg_current_xact_id()")
            for number in range(5):
                async with numbers.database.transaction() as connection:
                    await numbers.write(connection, workspace, number)
            assert (await anext(pages)).items == []
            await old.rollback()
        assert await next_rows(pages, 5) == [0, 1, 2, 3, 4]


async def test_long_reader_holds_nothing_back(numbers: Numbers, workspace: str) -> None:
    """A transaction that only reads, however long, neither delays nor hides rows."""
    async with numbers.database.transaction() as reader:
        await execute(reader, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await fetch(reader, "SELECT count(*) FROM numbers")
        async with numbers.database.transaction() as connection:
            await numbers.write(connection, workspace, 1, 2)
        assert (await numbers.until_now(workspace))[0] == [1, 2]
        assert await fetch(reader, "SELECT count(*) FROM numbers") == [(0,)]


STEPS = st.tuples(st.integers(0, 2), st.sampled_from(["write", "write", "commit", "rollback", "read"]))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(STEPS, min_size=15, max_size=40))
async def test_any_interleaving_delivers_each_row_once(numbers: Numbers, script: list[tuple[int, str]]) -> None:
    """Readers that come back with their cursor at any moment get each committed row exactly once."""
    workspace, delivered, cursor = "w", list[int](), ""
    committed: dict[int, int] = {}  # with the microsecond by which it was
    async with numbers.database.transaction() as connection:
        await execute(connection, "TRUNCATE numbers")
    async with AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(numbers.database.transaction()) for _ in range(3)]
        open_rows: list[set[int]] = [set() for _ in writers]
        for number, (index, step) in enumerate(script):
            if step == "write":
                await numbers.write(writers[index], workspace, number)
                open_rows[index].add(number)
            elif step == "commit":
                await execute(writers[index], "COMMIT; BEGIN")
                committed |= dict.fromkeys(open_rows[index], time.time_ns() // 1_000)
                open_rows[index] = set()
            elif step == "rollback":
                await execute(writers[index], "ROLLBACK; BEGIN")
                open_rows[index] = set()
            else:
                pages = numbers.feed.pages(cursor, numbers.read(workspace), workspace=workspace)
                async with aclosing(pages):
                    page = await anext(pages)
                    delivered, cursor = delivered + page.items, page.cursor
                until = page.complete_until or 0
                assert {row for row, at in committed.items() if at < until} <= set(delivered)
        for writer in writers:
            await writer.rollback()
    rest, _ = await numbers.until_now(workspace, cursor)
    assert sorted(delivered + rest) == sorted(committed)


async def test_pages_say_up_to_when_they_are_complete(numbers: Numbers, workspace: str) -> None:
    """The instant moves on while rows keep coming, stands still while one is held back, and then moves past it."""
    numbers.tune(feed_poll_seconds=0.01, feed_pause_seconds=0.05, feed_heartbeat_seconds=0.05)

    def now() -> int:
        return time.time_ns() // 1_000

    async with aclosing(numbers.feed.pages("", numbers.read(workspace), workspace=workspace)) as pages:

        async def complete_past(instant: int) -> bool:
            async with numbers.database.transaction() as connection:
                await numbers.write(connection, workspace, 1)
            return ((await anext(pages)).complete_until or 0) > instant

        began = now()
        await eventually(lambda: complete_past(began))
        async with numbers.database.transaction() as old:
            await numbers.write(old, workspace, 2)
            held = now()
            for _ in range(10):
                assert not await complete_past(held)
        await eventually(lambda: complete_past(held))


async def test_pages_are_bounded_and_resumable(numbers: Numbers, workspace: str) -> None:
    """A reader gets pages of the query's size and goes on behind any of them."""
    numbers.page_size = 3
    async with numbers.database.transaction() as connection:
        await numbers.write(connection, workspace, *range(8))
    pages = numbers.feed.pages("", numbers.read(workspace), workspace=workspace, until_now=True)
    seen = [page async for page in pages]
    # A transaction elsewhere on the server may hold the horizon back for a moment; then an empty page comes first.
    assert [page.items for page in seen if page.items] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    for index, page in enumerate(seen):
        rest = [number for later in seen[index + 1 :] for number in later.items]
        assert (await numbers.until_now(workspace, page.cursor))[0] == rest


async def test_until_now_ends_with_all_that_was_committed(numbers: Numbers, workspace: str) -> None:
    """A reader who asks for what there is waits for rows that are committed but hidden by an older transaction."""
    async with numbers.database.transaction() as old:
        await execute(old, "SELECT pg_current_xact_id()")
        async with numbers.database.transaction() as connection:
            await numbers.write(connection, workspace, 1)
        reading = asyncio.create_task(numbers.until_now(workspace))
        await asyncio.sleep(0.2)
        assert not reading.done()
    assert (await asyncio.wait_for(reading, LONG))[0] == [1]


async def test_workspaces_do_not_see_each_other(numbers: Numbers, workspace: str) -> None:
    """A feed shows the rows of one workspace."""
    async with numbers.database.transaction() as connection:
        await numbers.write(connection, workspace, 1)
        await numbers.write(connection, "other", 2)
    assert (await numbers.until_now(workspace))[0] == [1]


async def test_notify_wakes_before_the_poll(numbers: Numbers, workspace: str) -> None:
    """A reader whose poll lies far ahead is woken by the commit."""
    numbers.tune(feed_poll_seconds=3600, feed_heartbeat_seconds=3600)
    async with running([numbers.wakeups.run]):
        pages = numbers.feed.pages("", numbers.read(workspace), workspace=workspace)
        async with aclosing(pages):
            assert (await anext(pages)).items == []
            waiting = asyncio.create_task(next_rows(pages))
            await asyncio.sleep(0.5)
            async with numbers.database.transaction() as connection:
                await numbers.write(connection, workspace, 7)
            assert await waiting == [7]


async def test_rows_that_keep_coming_are_gathered(numbers: Numbers, workspace: str) -> None:
    """After a page that was not full, what comes within the pause is not a page for each commit."""
    numbers.tune(feed_pause_seconds=2.0)
    async with aclosing(numbers.feed.pages("", numbers.read(workspace), workspace=workspace)) as pages:
        async with numbers.database.transaction() as connection:
            await numbers.write(connection, workspace, 0)
        assert await next_rows(pages) == [0]
        waiting = asyncio.create_task(next_pages(pages, 6))
        for number in range(1, 7):
            async with numbers.database.transaction() as connection:
                await numbers.write(connection, workspace, number)
            await asyncio.sleep(0.05)
        gathered = await waiting
    assert [number for page in gathered for number in page] == [1, 2, 3, 4, 5, 6]
    assert len(gathered) <= 2


async def test_rows_held_back_arrive_without_another_notice(numbers: Numbers, workspace: str) -> None:
    """A reader that was woken often for nothing still looks again soon when a row waits for an old transaction."""
    numbers.tune(feed_poll_seconds=3600, feed_heartbeat_seconds=3600)
    async with running([numbers.wakeups.run]), numbers.database.statement() as other:
        pages = numbers.feed.pages("", numbers.read(workspace), workspace=workspace)
        async with aclosing(pages):
            assert (await anext(pages)).items == []
            waiting = asyncio.create_task(next_rows(pages))
            for _ in range(15):
                await asyncio.sleep(0.02)
                await execute(other, "SELECT pg_notify('numbers', %s)", (workspace,))
            async with numbers.database.transaction() as old:
                await execute(old, "SELECT pg_current_xact_id()")
                async with numbers.database.transaction() as connection:
                    await numbers.write(connection, workspace, 7)
                await asyncio.sleep(0.2)
            assert await waiting == [7]


async def test_lost_listener_is_replaced(numbers: Numbers, workspace: str) -> None:
    """When the listening connection is killed, the readers poll, and a new one listens."""
    listening = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND application_name = %s"
    async with running([numbers.wakeups.run]), numbers.database.statement() as connection:
        pids: list[tuple[int]] = []

        async def somebody_new_listens() -> bool:
            now = await fetch(connection, listening, (f"sima-{numbers.database.schema}",))
            return now not in ([], pids)

        await eventually(somebody_new_listens)
        pids = await fetch(connection, listening, (f"sima-{numbers.database.schema}",))
        await execute(connection, "SELECT pg_terminate_backend(%s)", pids[0])
        async with numbers.database.transaction() as writer:
            await numbers.write(writer, workspace, 1)
        assert (await numbers.until_now(workspace))[0] == [1]
        await eventually(somebody_new_listens)


async def test_slow_reader_is_not_read_ahead_for(numbers: Numbers, workspace: str) -> None:
    """No page is fetched before the reader takes it."""
    numbers.page_size = 1
    async with numbers.database.transaction() as connection:
        await numbers.write(connection, workspace, 1, 2, 3)
    fetched = []
    read = numbers.read(workspace)

    async def counting(after: Cursor, horizon: Horizon):  # type: ignore[no-untyped-def]  # noqa: ANN202
        rows = await read(after, horizon)
        fetched.append(rows.items)
        return rows

    async with aclosing(numbers.feed.pages("", counting, workspace=workspace)) as pages:
        while not (await anext(pages)).items:
            pass  # a transaction elsewhere on the server holds the horizon back for a moment
        await asyncio.sleep(0.2)
        assert [items for items in fetched if items] == [[1]]


async def test_heartbeats_tell_an_idle_reader_that_it_has_caught_up(numbers: Numbers, workspace: str) -> None:
    """An idle reader gets empty pages again and again, with a cursor that holds."""
    numbers.tune(feed_heartbeat_seconds=0.05)
    async with aclosing(numbers.feed.pages("", numbers.read(workspace), workspace=workspace)) as pages:
        beats = [await anext(pages) for _ in range(3)]
    assert [page.items for page in beats] == [[], [], []]
    assert await numbers.until_now(workspace, beats[-1].cursor) == ([], beats[-1].cursor)


async def restore(numbers: Numbers) -> None:
    """Make the database look like one that was restored elsewhere."""
    async with numbers.database.transaction() as connection:
        await execute(connection, "UPDATE feed_epoch SET system_identifier = 'another'")
    await begin_epoch(numbers.database)


async def test_new_epoch_expires_cursors(numbers: Numbers, workspace: str) -> None:
    """After a restore an old cursor is refused, and reading from the start gives every row and a cursor that holds."""
    async with numbers.database.transaction() as connection:
        await numbers.write(connection, workspace, 1)
    _, old = await numbers.until_now(workspace)
    await restore(numbers)
    with pytest.raises(CursorExpiredError) as caught:
        await numbers.until_now(workspace, old)
    assert caught.value.feed == "numbers"
    rows, fresh = await numbers.until_now(workspace)
    assert rows == [1]
    async with numbers.database.transaction() as connection:
        await numbers.write(connection, workspace, 2)
    assert (await numbers.until_now(workspace, fresh))[0] == [2]


async def test_new_epoch_ends_running_streams(numbers: Numbers, workspace: str) -> None:
    """A reader that is connected while a new epoch begins is told so."""
    async with aclosing(numbers.feed.pages("", numbers.read(workspace), workspace=workspace)) as pages:
        await anext(pages)
        await restore(numbers)
        with pytest.raises(CursorExpiredError):
            await asyncio.wait_for(anext(pages), LONG)


async def test_same_database_keeps_its_epoch(numbers: Numbers, workspace: str) -> None:
    """Starting again over the same database expires nothing."""
    _, cursor = await numbers.until_now(workspace)
    await begin_epoch(numbers.database)
    assert (await numbers.until_now(workspace, cursor))[0] == []


async def test_replicas_begin_one_epoch_together(numbers: Numbers, workspace: str) -> None:
    """Replicas that start at once after a restore agree on one new epoch and do not block each other."""
    async with numbers.database.transaction() as connection:
        await execute(connection, "UPDATE feed_epoch SET timeline = 'another'")
    async with asyncio.timeout(LONG):
        await asyncio.gather(*(begin_epoch(numbers.database) for _ in range(8)))
    async with numbers.database.statement() as connection:
        assert await fetch(connection, "SELECT epoch FROM feed_epoch") == [(2,)]


async def test_new_epoch_waits_for_writers_of_the_old_one(numbers: Numbers, workspace: str) -> None:
    """No row of the old epoch can appear once the new one has begun."""
    async with numbers.database.transaction() as writer:
        await numbers.write(writer, workspace, 1)
        beginning = asyncio.create_task(restore(numbers))
        await asyncio.sleep(0.2)
        assert not beginning.done()
    await asyncio.wait_for(beginning, LONG)
    assert (await numbers.until_now(workspace))[0] == [1]


async def test_stopping_ends_streams(numbers: Numbers, workspace: str) -> None:
    """When the server stops, waiting readers are sent elsewhere."""
    pages = numbers.feed.pages("", numbers.read(workspace), workspace=workspace)
    await anext(pages)
    waiting = asyncio.create_task(next_rows(pages))
    await asyncio.sleep(0.05)
    numbers.wakeups.close()
    with pytest.raises(DependencyUnavailableError):
        await asyncio.wait_for(waiting, LONG)


async def test_supervised_listener_ends_when_cancelled(numbers: Numbers) -> None:
    """Cancelling the listener ends it."""
    task = asyncio.create_task(supervise(numbers.wakeups.run))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@given(
    place=st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1)),
    epoch=st.integers(1, 2**31 - 1),
)
def test_tokens_name_their_place(place: tuple[int, int, int], epoch: int) -> None:
    """A token leads back to its place."""
    horizon = Horizon(epoch, 2**64, 2**64)
    cursor = Cursor(*place)
    if cursor.epoch <= epoch:
        assert parse_token(token(cursor, epoch, "numbers", "w"), horizon, "numbers", "w") == cursor


def test_empty_token_is_the_start() -> None:
    """Without a cursor a reader begins at the start."""
    assert parse_token("", Horizon(1, 1, 1), "numbers", "w") == START


@pytest.mark.parametrize(("feed", "workspace"), [("numbers", "other"), ("letters", "w")])
def test_a_token_is_good_for_its_own_feed_and_workspace(feed: str, workspace: str) -> None:
    """Elsewhere a reader would miss rows and not know."""
    given_out = token(Cursor(1, 50, 1), 1, feed, workspace)
    with pytest.raises(InvalidFieldsError):
        parse_token(given_out, Horizon(1, 60, 60), "numbers", "w")


@given(text=st.text(min_size=1))
def test_other_texts_are_no_tokens(text: str) -> None:
    """What no feed gave out is refused as a bad field."""
    with pytest.raises((InvalidFieldsError, CursorExpiredError)):
        parse_token(text, Horizon(1, 1, 1), "numbers", "w")


def forged(workspace: str, *numbers: int) -> str:
    """A token as no feed gives out, though its checksum is right: epoch in force, epoch, xid and seq."""
    place = struct.pack(">IIQQ", *numbers)
    checksum = zlib.crc32(f"numbers {workspace}".encode(), zlib.crc32(place))
    return base64.urlsafe_b64encode(place + struct.pack(">I", checksum)).decode()


@pytest.mark.parametrize("written", [(1, 1, 1, 2**63), (1, 0, 0, 2**64 - 1), (1, 2**31, 1, 1), (2**31, 0, 0, 0)])
async def test_a_token_beyond_what_the_database_can_hold_is_refused(
    numbers: Numbers, workspace: str, written: tuple[int, ...]
) -> None:
    """It is the mistake of who forged it, and the largest that it can hold is a place like any other."""
    with pytest.raises(InvalidFieldsError, match="cursor"):
        await numbers.until_now(workspace, forged(workspace, *written))
    assert (await numbers.until_now(workspace, forged(workspace, 1, 0, 2**64 - 1, 2**63 - 1)))[0] == []


def test_cursor_from_the_future_has_expired() -> None:
    """A cursor ahead of all that there is comes from a later state of a database that was set back."""
    ahead = token(Cursor(1, 50, 1), 1, "numbers", "w")
    with pytest.raises(CursorExpiredError):
        parse_token(ahead, Horizon(1, 50, 60), "numbers", "w")
