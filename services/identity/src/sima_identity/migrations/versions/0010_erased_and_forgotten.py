"""What a call asked to be erased, as a keyed hash: the same call again must ask for the same. What grew long ago."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade():
    op.execute("ALTER TABLE erasures ADD COLUMN asked uuid")
    op.execute("CREATE INDEX growth_by_age ON growth (noticed_at)")
