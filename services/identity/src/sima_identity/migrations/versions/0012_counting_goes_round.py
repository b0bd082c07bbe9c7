"""Which workspaces have something to be counted, one after the other."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade():
    op.execute("CREATE INDEX recounts_by_workspace ON recounts (workspace, id)")
