"""Who has the turn in a workspace, and which workspace comes next where something is done beside the calls."""

from collections.abc import Sequence
from typing import NamedTuple

from sima_runtime.database import Driver, execute, fetch

_TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('sima turn ' || %s, 0))"
_TRY_TURN = "SELECT pg_try_advisory_xact_lock(hashtextextended('sima turn ' || %s, 0))"


class Turn(NamedTuple):
    """Behind which workspace to look for the next one, and which ones are left out."""

    after: str = ""
    resting: Sequence[str] = ()

    def parameters(self) -> dict[str, str | list[str]]:
        """Return the parameters of a query that `next_workspace` made."""
        return {"after": self.after, "resting": list(self.resting)}


def next_workspace(table: str, lock: str, *, waits: str = "true", where: str = "true", also: str = "") -> str:
    """Return a query of the next workspace of which a row waits, and which nobody else has locked.

    Args:
        table: The rows, with an index on their workspaces.
        lock: What is locked, together with the workspace, until the transaction ends; only if it is to be had at once.
        waits: Which rows wait.
        where: In which workspaces, `listed.workspace`; for what is told of each rather than of each row.
        also: What else to ask of the workspace, `chosen.workspace`.
    """
    columns = f"workspace, {also}" if also else "workspace"
    return f"""WITH RECURSIVE listed AS (
        SELECT (SELECT min(workspace) FROM {table} WHERE {waits}) AS workspace
        UNION ALL
        SELECT (SELECT min(workspace) FROM {table} WHERE workspace > listed.workspace AND {waits})
        FROM listed WHERE listed.workspace IS NOT NULL
    ), in_order AS MATERIALIZED (
        SELECT workspace FROM listed
        WHERE workspace IS NOT NULL AND workspace <> ALL(%(resting)s::text[]) AND {where}
        ORDER BY workspace <= %(after)s, workspace
    ), chosen AS MATERIALIZED (
        SELECT workspace FROM in_order
        WHERE pg_try_advisory_xact_lock(hashtextextended('{lock} ' || workspace, 0)) LIMIT 1
    )
    SELECT {columns} FROM chosen"""


async def take_turn(connection: Driver, workspace: str) -> None:
    """Wait until no other transaction of the workspace has the turn, and have it until this one ends.

    For a transaction that has no number yet: while it waits, those of others are not held back, and who gets through
    meanwhile has not overtaken it.
    """
    await execute(connection, _TAKE_TURN, (workspace,))


async def try_turn(connection: Driver, workspace: str) -> bool:
    """Take the turn as `take_turn` does, unless another transaction has it; return whether this one has it."""
    [(taken,)] = await fetch(connection, _TRY_TURN, (workspace,))
    return bool(taken)
