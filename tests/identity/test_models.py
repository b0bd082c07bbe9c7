"""The tables are what the models say."""

from collections.abc import Callable

import pytest
from sima_identity.models import Base
from sima_runtime.database import Database
from sqlalchemy import Table

from tests.models import assert_models_are_migrated


async def test_migrations_make_what_the_models_say(open_database: Callable[[str], Database]) -> None:
    """No table, column, type, key or index is only here or only there."""
    await assert_models_are_migrated(open_database("identity").engine, Base.metadata)


@pytest.mark.parametrize(
    "table", [table for table in Base.metadata.sorted_tables if {"low", "high"} <= {*table.c.keys()}]
)
def test_every_index_that_begins_with_one_end_of_a_pair_goes_on_with_the_other(table: Table) -> None:
    """So whichever the planner takes, a pair of a hub is found without reading the hub's other pairs."""
    indexes = [index.columns.keys() for index in table.indexes] + [table.primary_key.columns.keys()]
    by_end = [columns for columns in indexes if columns[0] in {"low", "high"}]
    assert sorted(columns[:2] for columns in by_end) == [["high", "low"], ["low", "high"]]
