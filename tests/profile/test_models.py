"""The tables are what the models say."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sima_profile.models import Base
from sima_runtime.columns import Xid8
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.base import ischema_names

from .conftest import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOT_TABLES_OF_OURS = ("facts_", "alembic_version", "feed_epoch")


def compare(connection: Connection) -> list[object]:
    """What a migration would still have to do to get from the database to the models."""

    def ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or name is None or not name.startswith(NOT_TABLES_OF_OURS)

    context = MigrationContext.configure(connection, opts={"include_name": ours, "compare_type": True})
    return list(compare_metadata(context, Base.metadata))


@pytest.fixture
def known_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SQLAlchemy read the types that it does not know."""
    monkeypatch.setitem(ischema_names, "xid8", Xid8)


@pytest.mark.usefixtures("known_types")
async def test_migrations_make_what_the_models_say(stack: Stack) -> None:
    """No table, column, type or index is only here or only there."""
    async with stack.database.engine.connect() as connection:
        assert await connection.run_sync(compare) == []
