"""The tables of facts, of what became of them, and of who owns them."""

from alembic import op
from sima_runtime.epochs import FEED_TABLES
from sima_runtime.feeds import FEED_COLUMNS

revision = "0001"
down_revision = None

TABLES = (
    # One row per workspace that ever sent a fact, and how far its owners follow identity.
    """CREATE TABLE workspaces (
        workspace text COLLATE "C" PRIMARY KEY,
        identity_cursor text NOT NULL DEFAULT '',
        owners_version bigint NOT NULL DEFAULT 0)""",
    # Identifiers that do not own facts as others do. A row is never removed: both flags false says that it does again.
    # `rewritten_at` and `rewritten_to` are time and id of the last fact that has its owner by this standing; null: all
    # have.
    """CREATE TABLE non_owners (
        workspace text COLLATE "C" NOT NULL,
        key uuid NOT NULL,
        shared boolean NOT NULL,
        blocked boolean NOT NULL,
        version bigint NOT NULL,
        rewritten_at timestamptz,
        rewritten_to uuid,
        PRIMARY KEY (workspace, key))""",
    "CREATE INDEX non_owners_by_version ON non_owners (workspace, version)",
    """CREATE INDEX non_owners_unfinished ON non_owners (workspace, rewritten_at, rewritten_to)
        WHERE rewritten_to IS NOT NULL""",
    # When messages that state no time were first received.
    """CREATE TABLE message_times (
        workspace text COLLATE "C" NOT NULL,
        message uuid NOT NULL,
        received_at timestamptz NOT NULL,
        last_received_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (workspace, message))""",
    "CREATE INDEX message_times_by_time ON message_times (last_received_at)",
    # One row per message. The first 48 bits of the id are its time, so ranges of ids are months.
    f"""CREATE TABLE facts (
        workspace text COLLATE "C" NOT NULL,
        id uuid NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        source text COLLATE "C" NOT NULL,
        keys uuid[] NOT NULL,
        owner uuid,
        contested boolean NOT NULL,
        name text COLLATE "C",
        properties bytea,
        content uuid NOT NULL,
        {FEED_COLUMNS},
        PRIMARY KEY (workspace, id)) PARTITION BY RANGE (id)""",
    """CREATE INDEX facts_by_owner ON facts (workspace, owner, occurred_at, id) INCLUDE (name)""",
    "CREATE INDEX facts_contested ON facts USING gin (keys) WITH (fastupdate = off) WHERE contested",
    "CREATE INDEX facts_feed ON facts (workspace, epoch, xid, seq) WHERE name IS NOT NULL",
    f"""CREATE TABLE observations (
        workspace text COLLATE "C" NOT NULL,
        fact_id uuid NOT NULL,
        position smallint NOT NULL,
        id uuid NOT NULL,
        owner uuid,
        keys uuid[] NOT NULL,
        trait text COLLATE "C" NOT NULL,
        type text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        source text COLLATE "C" NOT NULL,
        method text COLLATE "C" NOT NULL,
        observed_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        confidence double precision NOT NULL,
        {FEED_COLUMNS},
        PRIMARY KEY (workspace, fact_id, position))""",
    """CREATE INDEX observations_by_owner ON observations
        (workspace, owner, trait, source, method, observed_at DESC)""",
    "CREATE INDEX observations_feed ON observations (workspace, epoch, xid, seq)",
    # A statement holds for every key of its message, whoever owns the message.
    f"""CREATE TABLE consents (
        workspace text COLLATE "C" NOT NULL,
        fact_id uuid NOT NULL,
        position smallint NOT NULL,
        id uuid NOT NULL,
        keys uuid[] NOT NULL,
        purpose text COLLATE "C" NOT NULL,
        granted boolean NOT NULL,
        source text COLLATE "C" NOT NULL,
        stated_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        {FEED_COLUMNS},
        PRIMARY KEY (workspace, fact_id, position))""",
    "CREATE INDEX consents_by_key ON consents USING gin (keys) WITH (fastupdate = off)",
    "CREATE INDEX consents_feed ON consents (workspace, epoch, xid, seq)",
    # Rows that readers of the feed were given and that no longer hold.
    f"""CREATE TABLE retractions (
        workspace text COLLATE "C" NOT NULL,
        id uuid NOT NULL,
        relation text COLLATE "C" NOT NULL,
        occurred_at timestamptz NOT NULL,
        {FEED_COLUMNS},
        PRIMARY KEY (workspace, epoch, xid, seq))""",
    # The contents of messages that lost against another content of the same message.
    """CREATE TABLE conflicts (
        workspace text COLLATE "C" NOT NULL,
        fact_id uuid NOT NULL,
        content uuid NOT NULL,
        occurred_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        source text COLLATE "C" NOT NULL,
        keys uuid[] NOT NULL,
        name text COLLATE "C",
        properties bytea,
        traits jsonb NOT NULL,
        consents jsonb NOT NULL,
        PRIMARY KEY (workspace, fact_id, content))""",
)


def upgrade() -> None:
    for statement in (*FEED_TABLES, *TABLES):
        op.execute(statement)


def downgrade() -> None:
    for table in ("conflicts", "retractions", "consents", "observations", "facts", "message_times", "non_owners"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP TABLE workspaces, feed_epoch")
    op.execute("DROP SEQUENCE feed_seq")
