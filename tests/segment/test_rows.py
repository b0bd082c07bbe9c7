"""The small steps that all parts of the projection share."""

from unittest.mock import Mock

import duckdb
import pyarrow as pa
import pytest
from sima_segment.projection.rows import registered, rolled_back


def test_what_went_wrong_is_told_also_inside_a_transaction() -> None:
    """The error that aborts a transaction is not hidden by tidying up after it."""
    with duckdb.connect() as connection:
        connection.execute("BEGIN")
        with pytest.raises(duckdb.ConversionException), registered(connection, page=pa.table({"text": ["x"]})):
            connection.execute("SELECT text::INTEGER FROM page").fetchall()


def test_an_interrupt_leaves_no_transaction_behind() -> None:
    """It may come when the statement that it was meant for has ended, and hit the end of the transaction."""
    with duckdb.connect() as connection:
        late = iter([duckdb.InterruptException("Interrupted!")])

        def execute(statement: str) -> None:
            if statement == "ROLLBACK" and (error := next(late, None)):
                raise error
            connection.execute(statement)

        with rolled_back(Mock(execute=execute)):
            execute("CREATE TABLE found (person UUID)")
        assert connection.execute("SHOW TABLES").fetchall() == []
        connection.execute("BEGIN")
