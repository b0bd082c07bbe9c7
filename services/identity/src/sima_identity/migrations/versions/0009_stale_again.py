"""What an erasure marked to be looked at again is found without reading all identifiers."""

from alembic import op

revision = "0009"
down_revision = "0008"

STATEMENTS = (
    "CREATE INDEX identifiers_stale_again ON identifiers (workspace, key) WHERE policy_version < 0",
    # Everything was grouped under this version before; since then only what is negative above is not.
    "ALTER TABLE policies ADD COLUMN applied_before boolean NOT NULL DEFAULT false",
)


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
