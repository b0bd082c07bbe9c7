"""Which workspaces have something to be counted, and what of each was counted longest ago."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade():
    op.execute("CREATE INDEX recounts_by_workspace ON recounts (workspace, id)")
    op.execute("DROP INDEX degrees_by_age")
    op.execute("CREATE INDEX degrees_by_age ON degrees (workspace, counted_at)")
