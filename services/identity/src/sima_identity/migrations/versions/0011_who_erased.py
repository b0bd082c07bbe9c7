"""Which erasure moved an identifier, so that the log says who asked for it."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade():
    op.execute("ALTER TABLE profile_changes ADD COLUMN erasure_id uuid")
    op.execute("ALTER TABLE pending ADD COLUMN erasure_id uuid")
