"""The graph of identifiers and evidence, and the log of what changed in it, which is also its feed."""

from alembic import op
from sima_runtime.epochs import FEED_TABLES
from sima_runtime.feeds import FEED_COLUMNS

revision = "0001"
down_revision = None

# Keys come before the workspace in indexes: of a workspace that is young the planner believes that it has one row, and
# would rather read all of it than look up a thousand keys.
TABLES = (
    # Order in which profile ids were given out.
    "CREATE SEQUENCE founded_seq",
    # `founded_id` is the profile id that was made from this key, if one was; `founded_seq` says how old it is.
    # `changed_epoch` and `changed_xid` are the place of its last change in the feed.
    """CREATE TABLE identifiers (
        workspace text COLLATE "C" NOT NULL,
        key uuid NOT NULL,
        kind text COLLATE "C" NOT NULL,
        value text COLLATE "C",
        profile_id uuid,
        founded_id uuid,
        founded_seq bigint,
        shared boolean NOT NULL,
        hub boolean NOT NULL,
        blocked boolean NOT NULL,
        first_seen_at timestamptz NOT NULL,
        changed_epoch integer NOT NULL,
        changed_xid xid8 NOT NULL,
        PRIMARY KEY (key, workspace))""",
    "CREATE INDEX identifiers_by_profile ON identifiers (profile_id, workspace)",
    "CREATE INDEX identifiers_by_founded ON identifiers (founded_id, workspace) WHERE founded_id IS NOT NULL",
    # Two identifiers that a source showed together; `message_id` is of a message that showed it first.
    """CREATE TABLE edges (
        workspace text COLLATE "C" NOT NULL,
        low uuid NOT NULL,
        high uuid NOT NULL,
        evidence text COLLATE "C" NOT NULL,
        source text COLLATE "C" NOT NULL,
        message_id text COLLATE "C",
        first_at timestamptz NOT NULL,
        refusal text COLLATE "C",
        PRIMARY KEY (low, high, workspace, evidence, source))""",
    "CREATE INDEX edges_by_high ON edges (high, workspace)",
    # Identifiers whose neighbourhood is to be looked at in the background.
    """CREATE TABLE pending (
        workspace text COLLATE "C" NOT NULL,
        key uuid NOT NULL,
        PRIMARY KEY (workspace, key))""",
    *FEED_TABLES,
    f"""CREATE TABLE profile_changes (
        workspace text COLLATE "C" NOT NULL,
        key uuid NOT NULL,
        kind text COLLATE "C" NOT NULL,
        previous_profile_id uuid,
        profile_id uuid,
        shared boolean NOT NULL,
        blocked boolean NOT NULL,
        changed_at timestamptz NOT NULL DEFAULT now(),
        standing_changed boolean NOT NULL,
        cause text COLLATE "C" NOT NULL,
        {FEED_COLUMNS},
        PRIMARY KEY (workspace, epoch, xid, seq))""",
    """CREATE INDEX profile_changes_of_standing ON profile_changes (workspace, epoch, xid, seq)
        WHERE standing_changed""",
    "CREATE INDEX profile_changes_by_key ON profile_changes (key)",
    "CREATE INDEX profile_changes_by_profile ON profile_changes (profile_id)",
    """CREATE INDEX profile_changes_by_previous ON profile_changes (previous_profile_id)
        WHERE previous_profile_id IS NOT NULL""",
)


def upgrade():
    for statement in TABLES:
        op.execute(statement)
