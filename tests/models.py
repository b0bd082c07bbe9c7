"""Holds the models of a service to what its migrations make; each service's tests say which."""

from collections.abc import Sequence

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sima_runtime.columns import Xid8
from sqlalchemy import Connection, MetaData, inspect
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.ext.asyncio import AsyncEngine

#: Beginnings of the names of tables that no model describes.
NOT_TABLES_OF_OURS = ("alembic_version", "feed_epoch")


async def assert_models_are_migrated(engine: AsyncEngine, models: MetaData, others: Sequence[str] = ()) -> None:
    """No table, column, type, key or index is only in the models or only in the database."""
    ischema_names.setdefault("xid8", Xid8)  # SQLAlchemy does not know the type
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences, models, (*NOT_TABLES_OF_OURS, *others)) == []
        expected = {name: [column.name for column in table.primary_key] for name, table in models.tables.items()}
        assert await connection.run_sync(_primary_keys, models) == expected


def _differences(connection: Connection, models: MetaData, others: tuple[str, ...]) -> list[object]:
    """What a migration would still have to do to get from the database to the models."""

    def ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or name is None or not name.startswith(others)

    context = MigrationContext.configure(connection, opts={"include_name": ours, "compare_type": True})
    return list(compare_metadata(context, models))


def _primary_keys(connection: Connection, models: MetaData) -> dict[str, list[str]]:
    """Columns of the primary keys, in order, which a comparison leaves out."""
    found = inspect(connection)
    return {table: found.get_pk_constraint(table)["constrained_columns"] for table in models.tables}
