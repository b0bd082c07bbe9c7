"""Holds rows that were loaded to those that the service itself writes.

To load them is legitimate because they are made with the workspace's own keys, and because of what is checked here: in
another workspace the service was told the same about the same people, and all that it wrote is equal, but for keys and
ids; it finds them; and it has nothing to add when it is told the same again.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from sima.identity.v1 import identity_service_pb2 as pb
from sima_runtime.keys import Keys

from benchmarks.graph import Graph, person
from benchmarks.identity_floors import WRITTEN, connected

# What the rows of the service hold that depends on neither secret nor time of writing.
_SAID = {
    "identifiers": """kind, value, profile_id = founded_id, founded_id IS NULL, founded_seq IS NULL, shared, hub,
        blocked, first_seen_at""",
    "edges": "message_id, source, evidence, first_at, refusal",
    "profile_changes": """kind, previous_profile_id, shared, blocked, standing_changed, cause, decision_id,
        (epoch, xid) = (SELECT changed_epoch, changed_xid FROM identity.identifiers AS own
            WHERE (own.workspace, own.key) = (written.workspace, written.key))""",
}
# `xmin` tells that a row was written again, even if it was written as it was.
_VERSION = {"identifiers": "key, xmin::text", "edges": "low, high, xmin::text", "profile_changes": "key, xid, seq"}


async def check(written: Graph, loaded: Graph, numbers: Sequence[int]) -> None:
    """Check people who were told to one workspace and loaded into another."""
    assert await rows(written, numbers, _SAID) == await rows(loaded, numbers, _SAID), "other rows than the service's"
    before = await rows(loaded, numbers, _VERSION)
    found = await look_up(loaded, numbers)
    assert await loaded.resolve(loaded.people(numbers)) == found, "other profiles than the service's"
    assert await rows(loaded, numbers, _VERSION) == before, "what was loaded is news to the service"


async def rows(graph: Graph, numbers: Sequence[int], columns: dict[str, str]) -> dict[str, list[Any]]:
    """What is stored of people, by table."""
    keys = graph.keys(numbers)
    return {table: await asyncio.to_thread(_rows, graph, table, columns[table], keys) for table in columns}


def _rows(graph: Graph, table: str, columns: str, keys: Sequence[bytes]) -> list[Any]:
    query = f"SELECT {columns} FROM identity.{table} AS written WHERE workspace = %s AND {WRITTEN[table]} = ANY(%s)"
    with connected(graph.stack.database_url) as connection:
        found = connection.execute(query.encode(), (graph.workspace, Keys(keys))).fetchall()
    assert len(found) >= len(keys) // 2
    return sorted(found, key=repr)


async def look_up(graph: Graph, numbers: Sequence[int]) -> list[str]:
    """Look people up by their first identifier, and return the profile of each; it has all of theirs and no other."""
    request = pb.LookupRequest(keys=[pb.LookupKey(identifier=person(number)[0]) for number in numbers])
    response: pb.LookupResponse = await graph.ask("Lookup", request)
    for number, result in zip(numbers, response.results, strict=True):
        found = {(known.identifier.kind, known.identifier.value) for known in result.identifiers}
        assert found == {(one.kind, one.value) for one in person(number)}
        assert not any(known.shared or known.blocked for known in result.identifiers)
    return [result.profile_id for result in response.results]
