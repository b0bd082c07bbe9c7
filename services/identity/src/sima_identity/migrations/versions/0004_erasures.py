"""What was erased: nothing but keys and times, so that what comes late is not taken in again."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    """CREATE TABLE erasures (
        workspace text COLLATE "C" NOT NULL,
        id uuid NOT NULL,
        actor text COLLATE "C" NOT NULL,
        reason text COLLATE "C" NOT NULL,
        request_id text COLLATE "C" NOT NULL,
        erased_at timestamptz NOT NULL DEFAULT now(),
        identifiers integer NOT NULL,
        PRIMARY KEY (id, workspace))""",
    # What was observed up to `until` is refused. Who may not have known of it began before `barrier` (null: not looked
    # yet); `checked` once what they may have written is gone, too.
    """CREATE TABLE tombstones (
        workspace text COLLATE "C" NOT NULL,
        key uuid NOT NULL,
        until timestamptz NOT NULL,
        barrier xid8,
        checked boolean NOT NULL DEFAULT false,
        PRIMARY KEY (key, workspace))""",
    "CREATE INDEX tombstones_to_check ON tombstones (workspace) WHERE NOT checked",
)


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
