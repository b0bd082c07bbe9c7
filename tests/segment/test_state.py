"""The state of a workspace is opened and closed whatever happens in between."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sima_runtime.database import Database
from sima_segment.projection import Configuration
from sima_segment.state import opened

from .worlds import Clock


async def test_who_stops_while_opening_leaves_nothing_open(
    open_database: Callable[[str], Database], tmp_path: Path
) -> None:
    """A stop that comes before the projection is open gives the file back, too."""

    async def use() -> None:
        async with opened("w", tmp_path / "w.duckdb", Configuration(), open_database("segment"), Clock()):
            pass

    stopped = asyncio.create_task(use())
    await asyncio.sleep(0)
    stopped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopped
    await use()
