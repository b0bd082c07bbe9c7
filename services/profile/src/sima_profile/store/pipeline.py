"""Several queries in one round trip."""

from collections.abc import Sequence
from typing import Any, LiteralString

from sima_runtime.database import Driver, Parameters


async def fetch_all(
    connection: Driver, queries: Sequence[LiteralString], parameters: Parameters
) -> list[list[tuple[Any, ...]]]:
    """Run queries with the same parameters and return the rows of each, transferred in binary."""
    cursors = [connection.cursor(binary=True) for _ in queries]
    async with connection.pipeline():
        for cursor, query in zip(cursors, queries, strict=True):
            await cursor.execute(query, parameters)
    return [await cursor.fetchall() for cursor in cursors]
