"""The tables are what the models say."""

from collections.abc import Callable

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sima_runtime.columns import Xid8
from sima_runtime.database import Database
from sima_segment.models import Base
from sqlalchemy import Connection, inspect
from sqlalchemy.dialects.postgresql.base import ischema_names

NOT_TABLES_OF_OURS = ("alembic_version", "feed_epoch")


def compare(connection: Connection) -> list[object]:
    """What a migration would still have to do to get from the database to the models."""

    def ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or name not in NOT_TABLES_OF_OURS

    context = MigrationContext.configure(connection, opts={"include_name": ours, "compare_type": True})
    return list(compare_metadata(context, Base.metadata))


def primary_keys(connection: Connection) -> dict[str, list[str]]:
    """Columns of the primary keys, in order, which a comparison leaves out."""
    found = inspect(connection)
    return {table: found.get_pk_constraint(table)["constrained_columns"] for table in Base.metadata.tables}


@pytest.fixture
def known_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SQLAlchemy read the types that it does not know."""
    monkeypatch.setitem(ischema_names, "xid8", Xid8)


@pytest.mark.usefixtures("known_types")
async def test_migrations_make_what_the_models_say(open_database: Callable[[str], Database]) -> None:
    """No table, column, type, key or index is only here or only there."""
    async with open_database("segment").engine.connect() as connection:
        assert await connection.run_sync(compare) == []
        expected = {name: [column.name for column in table.primary_key] for name, table in Base.metadata.tables.items()}
        assert await connection.run_sync(primary_keys) == expected
