"""Which stored identifiers bind nobody under the policy in force, also where another one was when they were grouped.

Whether an identifier is blocked depends on its value alone, and whether it is a hub on its own edges. So of what an
older policy closed, that can be said anew one by one. What an older policy left open leads on as it did: what was one
neighbourhood then is grouped anew as a whole.

Who began before a policy was set still takes for closed what that policy may open, and writes edges to it without a
lock. So until all of them have ended it stays closed, for everybody; those who know of the policy lock it. The same
goes for a hub of which something was erased, which may be none any more.
"""

from collections.abc import Collection, Iterable, Mapping

from sima_runtime.database import Driver

from sima_identity.evidence import Refusal, Verdict
from sima_identity.neighbourhood import ENDS
from sima_identity.policies import InForce
from sima_identity.policy import Policy
from sima_identity.records import Neighbour, Stored, StoredEdge
from sima_identity.store import graph, neighbours

# Of each identifier so many neighbours are read, which show that most hubs are hubs; of the others so many times more.
_AT_FIRST, _MORE = 50, 8
# Of all of them together so many at once, so that neither memory nor other calls suffer.
_AT_ONCE = 2_000
_FIRST = bytes(16)


class Closing:
    """Says so within one transaction, and knows which edges lead on."""

    def __init__(self, connection: Driver, workspace: str, in_force: InForce, *, spread: bool) -> None:
        """Set up.

        Args:
            connection: The transaction.
            workspace: Whose identifiers they are.
            in_force: The policy.
            spread: Whether rows lie on several machines.
        """
        self._connection, self._workspace, self._in_force, self._spread = connection, workspace, in_force, spread
        self._leads: dict[bytes, bool] = {}
        self._stale: set[bytes] = set()
        self._kept: set[bytes] = set()

    def is_stale(self, row: Stored) -> bool:
        """Whether an identifier is to be grouped anew, for it was under another policy, or something was erased."""
        return self._is_old(row) and not self._is_kept(row)

    def to_lock(self) -> set[bytes]:
        """Return those ends of the neighbourhood that are to be locked."""
        return self._stale | self._kept

    def stale_ends(self) -> set[bytes]:
        """Return those that lead nowhere, as they did under the older policy under which they were grouped."""
        return self._stale

    async def open_among(self, rows: Collection[Stored]) -> set[bytes]:
        """Return those of some identifiers that lead on."""
        await self._look_at(rows)
        return {row.key for row in rows if self._leads[row.key]}

    async def learn(self, edges: Iterable[StoredEdge]) -> None:
        """Find out which ends of edges are closed, where what is stored may be out of date."""
        if self._in_force.settled:
            return
        ends = {end for edge in edges if edge.refusal in ENDS for end in edge.pair} - self._leads.keys()
        if ends:
            await self._look_at(await graph.read_identifiers(self._connection, self._workspace, ends))

    def leads_on(self, edge: StoredEdge) -> bool:
        """Whether what lies behind an edge belongs to the neighbourhood."""
        if edge.verdict is Verdict.NEVER:
            return False
        if edge.refusal not in ENDS:
            return True
        return not self._in_force.settled and all(self._leads.get(end, False) for end in edge.pair)

    async def closed(self, rows: Collection[Stored]) -> dict[bytes, Refusal]:
        """Return which identifiers bind nobody, and why; of hubs, only those that were closed before."""
        closed = {row.key: _stored_reason(row) for row in rows if row.closed}
        if old := [row for row in rows if self._is_old(row)]:
            # One that is erased meanwhile has no value, and will not be there to be locked.
            values = await graph.read_values(self._connection, self._workspace, [row.key for row in old])
            blocking = self._in_force.blocking
            blocked = {row.key for row in old if blocking.blocks(row.key, row.kind, values.get(row.key))}
            kept = {row.key for row in old if self._is_kept(row)}
            hubs = await self._hubs([row for row in old if row.closed and row.key not in blocked | kept])
            for row in old:
                closed.pop(row.key, None)
            closed |= dict.fromkeys(kept | hubs, Refusal.HUB) | dict.fromkeys(blocked, Refusal.BLOCKED)
        return closed

    async def _look_at(self, rows: Collection[Stored]) -> None:
        closed = await self.closed(rows)
        for row in rows:
            stale = self.is_stale(row)
            self._leads[row.key] = (stale and not row.closed) or row.key not in closed
            if stale and not self._leads[row.key]:
                self._stale.add(row.key)
            elif self._is_kept(row):
                self._kept.add(row.key)

    def _is_old(self, row: Stored) -> bool:
        return row.policy_version != self._in_force.version

    def _is_kept(self, row: Stored) -> bool:
        return row.closed and self._is_old(row) and not self._in_force.alone

    async def _hubs(self, rows: Collection[Stored]) -> set[bytes]:
        """Those that were seen with too many others, of whom no more are read than show it."""
        counts = {row.key: _Count(self._in_force.policy, row.kind) for row in rows}
        after, most = dict.fromkeys(counts, _FIRST), _AT_FIRST
        while after:
            more = await self._count(counts, after, most)
            after = {key: behind for key, behind in more.items() if not counts[key].makes_hub()}
            most = min(_MORE * most, _AT_ONCE)
        return {key for key, count in counts.items() if count.makes_hub()}

    async def _count(
        self, counts: Mapping[bytes, "_Count"], after: Mapping[bytes, bytes], most: int
    ) -> dict[bytes, bytes]:
        """Count so many more of each, and return behind which to go on where there may be more still."""
        more: dict[bytes, bytes] = {}
        keys, step = sorted(after), max(_AT_ONCE // most, 1)
        for some in (keys[start : start + step] for start in range(0, len(keys), step)):
            behind = {key: after[key] for key in some}
            seen, further = await neighbours.read(self._connection, self._workspace, behind, most, spread=self._spread)
            for neighbour in seen:
                if not self._blocks(neighbour):
                    counts[neighbour.of].add(neighbour.kind)
            more |= further
        return more

    def _blocks(self, neighbour: Neighbour) -> bool:
        if neighbour.policy_version == self._in_force.version:
            return neighbour.blocked
        return self._in_force.blocking.blocks(neighbour.key, neighbour.kind, neighbour.value)


class _Count:
    """How many others an identifier was seen with, as far as they were read."""

    def __init__(self, policy: Policy, kind: str) -> None:
        self._policy, self._kind = policy, policy.kind(kind)
        self._strong = self._all = 0

    def add(self, kind: str) -> None:
        """Count one."""
        self._strong += self._policy.kind(kind).strong
        self._all += 1

    def makes_hub(self) -> bool:
        """Whether these are too many."""
        return self._policy.makes_hub(self._kind, self._strong, self._all)


def _stored_reason(row: Stored) -> Refusal:
    return Refusal.BLOCKED if row.blocked else Refusal.HUB
