"""What workspaces say about their policies, and under which version each identifier was grouped."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    # `rules` is JSON; `applied_at` is null until everything stored is grouped under this version. Up to `place` it is,
    # and `barrier` is a transaction before which all that knew only earlier versions began.
    """CREATE TABLE policies (
        workspace text COLLATE "C" NOT NULL,
        version integer NOT NULL,
        rules text COLLATE "C" NOT NULL,
        actor text COLLATE "C" NOT NULL,
        reason text COLLATE "C" NOT NULL,
        request_id text COLLATE "C" NOT NULL,
        set_at timestamptz NOT NULL DEFAULT now(),
        applied_at timestamptz,
        place uuid,
        barrier xid8,
        PRIMARY KEY (workspace, version))""",
    "CREATE INDEX policies_to_apply ON policies (workspace) WHERE applied_at IS NULL",
    "ALTER TABLE identifiers ADD COLUMN policy_version integer NOT NULL DEFAULT 0",
    "ALTER TABLE profile_changes ADD COLUMN policy_version integer",
)


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
