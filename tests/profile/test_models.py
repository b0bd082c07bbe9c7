"""The tables are what the models say."""

import pytest
from sima_profile.models import Base

from tests.models import assert_models_are_migrated

from .conftest import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_migrations_make_what_the_models_say(stack: Stack) -> None:
    """No table, column, type, key or index is only here or only there; partitions are made as time goes on."""
    await assert_models_are_migrated(stack.database.engine, Base.metadata, ("facts_",))
