"""The tables are what the models say."""

from collections.abc import Callable

from sima_runtime.database import Database
from sima_segment.models import Base

from tests.models import assert_models_are_migrated


async def test_migrations_make_what_the_models_say(open_database: Callable[[str], Database]) -> None:
    """No table, column, type, key or index is only here or only there."""
    await assert_models_are_migrated(open_database("segment").engine, Base.metadata)
