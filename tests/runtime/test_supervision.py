"""Background tasks go on after a crash, and nobody has to wonder why."""

import asyncio

import pytest
from sima_runtime.server import running
from sima_runtime.supervision import supervise

from .conftest import LONG, LogLines


async def test_crashed_task_is_started_again(log_lines: LogLines) -> None:
    """A task that crashes is logged without the exception's text, counted, and started again."""
    runs = 0
    recovered = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError("hypatia@example.com")
        recovered.set()
        await asyncio.Event().wait()

    async with running([work]):
        await asyncio.wait_for(recovered.wait(), LONG)
    lines = [line for line in log_lines() if line["event"] == "task_crashed"]
    assert len(lines) == 2
    assert all("work" in line["task"] and line["exception"][0]["type"] == "ValueError" for line in lines)
    assert "hypatia" not in str(lines)
    assert lines[1]["again_in_seconds"] > lines[0]["again_in_seconds"]


async def test_finished_task_is_not_started_again() -> None:
    """A task that has done its work is done."""
    runs = []

    async def work() -> None:
        runs.append(1)

    await supervise(work)
    assert runs == [1]


async def test_tasks_end_with_the_block() -> None:
    """Background tasks are cancelled, and have cleaned up when the block is left."""
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.append(1)

    async with running([work, work]):
        await asyncio.sleep(0.01)
    assert ended == [1, 1]


async def test_failure_of_the_block_ends_the_tasks() -> None:
    """An exception in the block is not held up by the tasks."""

    async def work() -> None:
        await asyncio.Event().wait()

    async def block() -> None:
        async with running([work]):
            raise LookupError

    with pytest.raises(LookupError):
        await asyncio.wait_for(block(), LONG)
