"""In which call a decision was taken back: the same call again must take back the same one."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade():
    op.execute("ALTER TABLE decisions ADD COLUMN withdrawal_id uuid")
    op.execute("CREATE INDEX decisions_by_withdrawal ON decisions (withdrawal_id) WHERE withdrawal_id IS NOT NULL")
