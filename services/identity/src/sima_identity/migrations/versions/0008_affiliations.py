"""Which people belong to which companies."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    """CREATE TABLE affiliations (
        person uuid NOT NULL,
        account uuid NOT NULL,
        workspace text COLLATE "C" NOT NULL,
        source text COLLATE "C" NOT NULL,
        message_id text COLLATE "C",
        first_at timestamptz NOT NULL,
        PRIMARY KEY (person, account, workspace, source))""",
    "CREATE INDEX affiliations_by_account ON affiliations (account, person, workspace)",
)


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
