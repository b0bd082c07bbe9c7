"""How the connections of this service are set up."""

from typing import Any

from sima_runtime.database import Database
from sqlalchemy import event


def plan_once(database: Database) -> None:
    """Make every connection plan each query once, when it is first used.

    Planning over all partitions takes longer than finding the rows, and no query here needs another plan for other
    values: each is led by an index. A table that was small when the plan was made must not be read from end to end for
    ever after, so that is ruled out.
    """

    @event.listens_for(database.engine.sync_engine, "connect")
    def set_up(connection: Any, _: Any) -> None:  # noqa: ANN401  # what SQLAlchemy hands in has no public type
        connection.driver_connection.prepare_threshold = 0
        with connection.cursor() as cursor:
            cursor.execute("SET plan_cache_mode = force_generic_plan")
            cursor.execute("SET enable_seqscan = off")
        connection.commit()
