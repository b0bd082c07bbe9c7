"""Rules run together find what they find alone."""

import uuid
from datetime import UTC, datetime

import duckdb
from sima_segment.projection.evaluation import evaluate
from sima_segment.rules import Catalogue, parse
from sima_segment.rules.schema import MEMBERS


def test_segments_with_one_rule_have_the_same_members_once() -> None:
    """Two rules that refer to one segment each find its members, and none of them twice."""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE {MEMBERS} (segment VARCHAR, person UUID)")
        people = sorted(uuid.uuid4() for _ in range(3))
        connection.executemany(f"INSERT INTO {MEMBERS} VALUES ('vip', ?)", [[person] for person in people])
        rule = parse('segment("vip")', {})
        evaluate(connection, {"one": rule, "other": rule}, Catalogue({}, {}), datetime.now(UTC))
        found = connection.execute(f"FROM {MEMBERS} WHERE segment <> 'vip' ORDER BY ALL").fetchall()
    assert found == [(segment, person) for segment in ("one", "other") for person in people]
