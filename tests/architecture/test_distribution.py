"""The tables can be distributed over many machines as docs/operating.md says."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sima_runtime.database import Database, fetch

MANUAL = Path(__file__).parents[2] / "docs" / "operating.md"
#: What the manual distributes: `create_distributed_table('identity.edges', 'low', ...)`.
DISTRIBUTED = dict(re.findall(r"create_distributed_table\('([\w.]+)', '(\w+)'", MANUAL.read_text()))
#: What could be distributed besides, by which column; the manual says so in words.
DISTRIBUTABLE = {
    "identity.affiliations": "person",
    "identity.decided_pairs": "low",
    "identity.degrees": "key",
    "identity.growth": "subject",
    "identity.pending": "key",
    "identity.tombstones": "key",
    "profile.facts": "id",
    "profile.observations": "fact_id",
    "profile.consents": "fact_id",
    "profile.conflicts": "fact_id",
    "profile.message_times": "message",
    "profile.non_owners": "key",
    "segment.memberships": "profile_id",
}
_UNIQUE = """SELECT unique_.indexrelid::regclass::text, array_agg(attname::text)
    FROM pg_index AS unique_ JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey::int2[])
    WHERE indrelid = %s::regclass AND indisunique GROUP BY unique_.indexrelid"""
_TYPE = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s"


@pytest.mark.parametrize(("table", "column"), [*DISTRIBUTED.items(), *DISTRIBUTABLE.items()])
async def test_no_machine_must_ask_another_whether_a_row_is_unique(
    open_database: Callable[[str], Database], table: str, column: str
) -> None:
    """Every unique index of a table that is distributed contains the column by which it is."""
    async with open_database(table.split(".", maxsplit=1)[0]).statement() as connection:
        indexes = dict(await fetch(connection, _UNIQUE, (table,)))
    assert indexes
    assert [name for name, columns in indexes.items() if column not in columns] == []


async def test_what_lies_together_is_distributed_by_columns_of_one_type(
    open_database: Callable[[str], Database],
) -> None:
    """An identifier, and the edges of which it is the smaller end, are on the same machine."""
    assert DISTRIBUTED == {"identity.identifiers": "key", "identity.edges": "low"}
    async with open_database("identity").statement() as connection:
        types = [(await fetch(connection, _TYPE, place))[0] for place in DISTRIBUTED.items()]
    assert types == [("uuid",)] * 2
