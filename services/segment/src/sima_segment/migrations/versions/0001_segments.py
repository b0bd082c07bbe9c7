"""The tables of segments, of who is in them, of who entered and left, and of how far the facts are worked off."""

from alembic import op
from sima_runtime.epochs import FEED_TABLES
from sima_runtime.feeds import FEED_COLUMNS

revision = "0001"
down_revision = None

TABLES = (
    # One row per followed workspace: the state that the memberships of the workspace show. `lineage` names the
    # projection that was read last; `tick` counts what was stored, and fences off a second writer.
    """CREATE TABLE positions (
        workspace text COLLATE "C" PRIMARY KEY,
        lineage text NOT NULL DEFAULT '',
        tick bigint NOT NULL DEFAULT 0)""",
    """CREATE TABLE segments (
        workspace text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        rule text NOT NULL,
        description text NOT NULL,
        size bigint NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (workspace, name))""",
    """CREATE TABLE memberships (
        workspace text COLLATE "C" NOT NULL,
        segment text COLLATE "C" NOT NULL,
        profile_id uuid NOT NULL,
        entered_at timestamptz NOT NULL,
        PRIMARY KEY (workspace, segment, profile_id))""",
    "CREATE INDEX memberships_by_profile ON memberships (workspace, profile_id) INCLUDE (segment)",
    *FEED_TABLES,
    f"""CREATE TABLE membership_changes (
        workspace text COLLATE "C" NOT NULL,
        segment text COLLATE "C" NOT NULL,
        profile_id uuid NOT NULL,
        entered boolean NOT NULL,
        changed_at timestamptz NOT NULL,
        {FEED_COLUMNS},
        PRIMARY KEY (workspace, epoch, xid, seq))""",
)


def upgrade():
    for statement in TABLES:
        op.execute(statement)


def downgrade():
    op.execute("DROP TABLE membership_changes, memberships, segments, positions, feed_epoch")
    op.execute("DROP SEQUENCE feed_seq")
