"""What an identifier was before each change; and changes have the time at which they are written."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = (
    "ALTER TABLE profile_changes ADD COLUMN previously_shared boolean NOT NULL DEFAULT false",
    "ALTER TABLE profile_changes ADD COLUMN previously_blocked boolean NOT NULL DEFAULT false",
    """UPDATE profile_changes AS change SET previously_shared = before.shared, previously_blocked = before.blocked
        FROM (
            SELECT workspace, epoch, xid, seq, lag(shared, 1, false) OVER earlier AS shared,
                lag(blocked, 1, false) OVER earlier AS blocked
            FROM profile_changes WINDOW earlier AS (PARTITION BY workspace, key ORDER BY epoch, xid, seq)
        ) AS before
        WHERE (change.workspace, change.epoch, change.xid, change.seq)
                = (before.workspace, before.epoch, before.xid, before.seq)
            AND (before.shared OR before.blocked)""",
    # Who had to wait for another transaction is later than that one.
    "ALTER TABLE profile_changes ALTER COLUMN changed_at SET DEFAULT statement_timestamp()",
)


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
