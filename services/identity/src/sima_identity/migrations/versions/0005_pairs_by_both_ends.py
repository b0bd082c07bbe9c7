"""Pairs are found by both ends, whichever index the planner takes.

Of a table that grew fast it has no statistics yet, and it looked pairs up by one end: each new edge of a hub read all
edges of the hub.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = ("edges", "decided_pairs")


def upgrade():
    for table in TABLES:
        op.execute(f"DROP INDEX {table}_by_high")
        op.execute(f"CREATE INDEX {table}_by_high ON {table} (high, low, workspace)")
