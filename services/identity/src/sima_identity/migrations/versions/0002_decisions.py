"""What people decide about pairs of identifiers, and which changes come of it."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    """CREATE TABLE decisions (
        workspace text COLLATE "C" NOT NULL,
        id uuid NOT NULL,
        kind text COLLATE "C" NOT NULL,
        actor text COLLATE "C" NOT NULL,
        reason text COLLATE "C" NOT NULL,
        request_id text COLLATE "C" NOT NULL,
        decided_at timestamptz NOT NULL DEFAULT now(),
        withdrawn_at timestamptz,
        withdrawn_by text COLLATE "C",
        withdrawal_reason text COLLATE "C",
        PRIMARY KEY (id, workspace))""",
    """CREATE TABLE decided_pairs (
        workspace text COLLATE "C" NOT NULL,
        low uuid NOT NULL,
        high uuid NOT NULL,
        decision_id uuid NOT NULL,
        verdict text COLLATE "C" NOT NULL,
        reversed boolean NOT NULL,
        holds boolean NOT NULL,
        refusal text COLLATE "C",
        PRIMARY KEY (low, high, workspace, decision_id))""",
    "CREATE INDEX decided_pairs_by_high ON decided_pairs (high, workspace)",
    "CREATE INDEX decided_pairs_by_decision ON decided_pairs (decision_id, workspace)",
    "ALTER TABLE pending ADD COLUMN decision_id uuid",
    "ALTER TABLE profile_changes ADD COLUMN decision_id uuid",
)


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
