"""With how many others identifiers were seen, where that is many, and what grew suspiciously."""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = (
    "CREATE INDEX identifiers_shared ON identifiers (workspace, hub, key) WHERE shared",
    # What is to be counted anew. Rows are only ever added by who records, so that nobody waits for anybody.
    """CREATE TABLE recounts (
        id bigint GENERATED ALWAYS AS IDENTITY,
        workspace text COLLATE "C" NOT NULL,
        subject uuid NOT NULL,
        is_profile boolean NOT NULL,
        PRIMARY KEY (id, workspace))""",
    """CREATE TABLE degrees (
        key uuid NOT NULL,
        workspace text COLLATE "C" NOT NULL,
        identifiers bigint NOT NULL,
        strong bigint NOT NULL,
        most bigint NOT NULL,
        profiles bigint NOT NULL,
        kinds jsonb NOT NULL,
        day_identifiers bigint NOT NULL,
        day_profiles bigint NOT NULL,
        week_identifiers bigint NOT NULL,
        week_profiles bigint NOT NULL,
        crowded boolean NOT NULL,
        counted_at timestamptz NOT NULL,
        PRIMARY KEY (key, workspace))""",
    "CREATE INDEX degrees_by_size ON degrees (workspace, identifiers, key) WHERE crowded",
    "CREATE INDEX degrees_by_age ON degrees (counted_at)",
    """CREATE TABLE growth (
        subject uuid NOT NULL,
        workspace text COLLATE "C" NOT NULL,
        day date NOT NULL,
        is_profile boolean NOT NULL,
        gained bigint NOT NULL,
        most bigint NOT NULL,
        noticed_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (subject, workspace, day))""",
    "CREATE INDEX growth_by_time ON growth (workspace, noticed_at, subject)",
    # What is stored already: whoever has many edges is looked at once.
    """INSERT INTO recounts (workspace, subject, is_profile)
        SELECT workspace, key, false FROM identifiers WHERE shared
        UNION
        SELECT workspace, key, false
        FROM (SELECT workspace, low AS key FROM edges UNION ALL SELECT workspace, high FROM edges) AS ends
        GROUP BY workspace, key HAVING count(*) >= 10""",
)


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
