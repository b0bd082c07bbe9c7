"""The small steps that all parts of the projection share."""

import duckdb
import pyarrow as pa
import pytest
from sima_segment.projection.rows import registered


def test_what_went_wrong_is_told_also_inside_a_transaction() -> None:
    """The error that aborts a transaction is not hidden by tidying up after it."""
    with duckdb.connect() as connection:
        connection.execute("BEGIN")
        with pytest.raises(duckdb.ConversionException), registered(connection, page=pa.table({"text": ["x"]})):
            connection.execute("SELECT text::INTEGER FROM page").fetchall()
