"""Makes decisions about identifiers, and takes them back.

A decision is written, and what follows from it, in one transaction that has locked the neighbourhoods of all that it is
about. So whatever else is recorded at the same time, what is stored in the end is the grouping of all evidence and of
all decisions that hold.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial

from sima_runtime.database import Driver
from sima_runtime.errors import (
    AlreadyExistsError,
    ContradictionError,
    InvalidFieldsError,
    NotFoundError,
    Violation,
    Violations,
)

from sima_identity.batch import Batch
from sima_identity.decisions import Deciding, Decision, DecisionKind, Outcome, Proposal, call_id
from sima_identity.grouping import Grouping, OvertakenError, Transaction, write
from sima_identity.records import Because, Stored
from sima_identity.store import decisions, erasures, graph

Attempt = Callable[[Transaction], Awaitable[Outcome]]


class Decider:
    """Decides, in the name of who calls."""

    def __init__(self, grouping: Grouping, secrets: Callable[[str], bytes]) -> None:
        """Set up.

        Args:
            grouping: Groups what is locked.
            secrets: Gives the secret of a workspace.
        """
        self._grouping, self._secrets = grouping, secrets

    async def decide(self, workspace: str, proposal: Proposal, by: Deciding) -> Outcome:
        """Make a decision, or show what would come of it.

        Raises:
            InvalidFieldsError: Something about these identifiers cannot be decided.
            NotFoundError: One of them was never seen; its name says which field.
            ContradictionError: A decision that holds says the contrary.
            AlreadyExistsError: The request decided something else before.
            OverloadedError: Too many others write about the same identifiers at the same time.
        """
        own = call_id(self._secrets(workspace), by.request_id)
        return await self._done(workspace, own, by, partial(self._make, own, proposal, by))

    async def withdraw(self, workspace: str, decision: bytes, by: Deciding) -> Outcome:
        """Take a decision back, or show what would come of it.

        Raises:
            NotFoundError: There is none with this id.
            OverloadedError: Too many others write about the same identifiers at the same time.
        """
        return await self._done(workspace, decision, by, partial(self._take_back, decision, by))

    async def _done(self, workspace: str, own: bytes, by: Deciding, attempt: Attempt) -> Outcome:
        """Do something about a decision with an id; if that is a preview, as if nothing had been done."""

        async def work(transaction: Transaction) -> Outcome:
            outcome = await attempt(transaction)
            also = await decisions.same(*transaction[:2], outcome.decision, own)
            if by.preview:
                await transaction.connection.rollback()
            return outcome._replace(also=also)

        return await self._grouping.in_transaction(workspace, work)

    async def _make(self, own: bytes, proposal: Proposal, by: Deciding, transaction: Transaction) -> Outcome:
        connection, workspace, *_ = transaction
        if (done := await decisions.of_call(connection, workspace, own)) is not None:
            made = await decisions.find(connection, workspace, own)
            gone = await erasures.tombstones(connection, workspace, {*proposal.keys, *proposal.others})
            return Outcome(_the_same(made, proposal, gone, done))
        known = await self._known(connection, workspace, proposal)
        if proposal.kind is DecisionKind.SPLIT and not proposal.others:
            proposal = await self._from_strongest(connection, workspace, proposal, known)
            known = await self._known(connection, workspace, proposal)
        _check(proposal, known)

        async def insert() -> Decision:
            if (contrary := await decisions.contrary(connection, workspace, proposal)) is not None:
                raise ContradictionError(contrary.hex())
            decided_at = await decisions.insert(connection, workspace, own, proposal, by)
            if decided_at is None:
                raise OvertakenError
            sides = (sorted(set(proposal.keys)), sorted(set(proposal.others)))
            made = Decision(own, proposal.kind, *sides, by.actor, by.reason, by.request_id, decided_at)
            return made._replace(id=b"", decided_at=None) if by.preview else made

        return await self._regroup(transaction, known, own, insert)

    async def _take_back(self, own: bytes, by: Deciding, transaction: Transaction) -> Outcome:
        connection, workspace, *_ = transaction
        call = call_id(self._secrets(workspace), by.request_id)
        done = await decisions.of_call(connection, workspace, call)
        decision = await decisions.find(connection, workspace, own)
        if decision is None:
            raise NotFoundError("decision", own.hex())
        if done not in {None, own} or own == call:
            raise AlreadyExistsError("decision", (done or own).hex())
        if decision.withdrawn_at is not None:
            return Outcome(decision)
        known = await graph.read_identifiers(connection, workspace, {*decision.keys, *decision.others})

        async def lift() -> Decision:
            withdrawn_at = await decisions.withdraw(connection, workspace, own, by, call)
            if withdrawn_at is None:
                raise OvertakenError
            taken_back = decision._replace(
                withdrawn_at=withdrawn_at, withdrawn_by=by.actor, withdrawal_reason=by.reason
            )
            return decision if by.preview else taken_back

        return await self._regroup(transaction, known, own, lift)

    async def _regroup(
        self, transaction: Transaction, known: Sequence[Stored], own: bytes, change: Callable[[], Awaitable[Decision]]
    ) -> Outcome:
        """Lock the neighbourhoods of identifiers, change what a decision says about them, and group them anew."""
        situation, seeds, newer, closing = await self._grouping.lock(
            transaction, known, limit=self._grouping.limit, also={row.key for row in known}
        )
        if newer or any(situation.stored[row.key] != row for row in known):
            raise OvertakenError
        decision = await change()
        edges, _ = await self._grouping.edges(transaction, situation.members, closing)
        left_out = seeds - situation.members
        plan = await self._grouping.plan(transaction, Batch(), situation.with_edges(edges))
        await write(transaction, plan, because := Because(decision=own))
        if left_out:
            await graph.add_pending(*transaction[:2], left_out, because)
        return Outcome(decision, [row for row in plan.changed if row.state_changed], pending=bool(left_out))

    async def _known(self, connection: Driver, workspace: str, proposal: Proposal) -> list[Stored]:
        keys = dict.fromkeys((*proposal.keys, *proposal.others))
        known = await graph.read_identifiers(connection, workspace, keys)
        if unseen := keys.keys() - {row.key for row in known}:
            raise NotFoundError("identifier", next(proposal.fields[key] for key in keys if key in unseen))
        return known

    async def _from_strongest(
        self, connection: Driver, workspace: str, proposal: Proposal, known: Sequence[Stored]
    ) -> Proposal:
        """A split from the strongest identifier of the profile that is not named."""
        profiles = {row.profile_id for row in known}
        profile = profiles.pop()
        if profiles or profile is None:
            raise _refused("identifiers", "expected identifiers of one profile")
        members = dict(await decisions.members(connection, workspace, profile))
        rest = self._grouping.by_strength({key: kind for key, kind in members.items() if key not in proposal.keys})
        if not rest:
            raise _refused("identifiers", "expected not all identifiers of the profile")
        return proposal._replace(others=rest[:1])


def _check(proposal: Proposal, known: Sequence[Stored]) -> None:
    """Refuse what no decision can be about."""
    if set(proposal.keys) & set(proposal.others):
        raise _refused("others", "expected other identifiers than those of the first side")
    always = proposal.kind is DecisionKind.ALWAYS_LINK
    bad = Violations()
    for row in known:
        field = proposal.fields.get(row.key, "identifiers")
        bad.require(not row.blocked, field, "expected an identifier of somebody; this one is blocked")
        unshared = not (always and row.hub)
        bad.require(
            unshared, field, "expected an identifier that can belong to somebody; this one is seen with too many"
        )
    bad.check()


def _refused(field: str, expected: str) -> InvalidFieldsError:
    return InvalidFieldsError([Violation(field, expected)])


def _the_same(made: Decision | None, proposal: Proposal, gone: Collection[bytes], done: bytes) -> Decision:
    """The decision that a call made before, if this is what it asked for: `gone` may have been erased since.

    If it made none, it took back another one (`done`).
    """
    if made is None:
        raise AlreadyExistsError("decision", done.hex())
    keys = _left(proposal.keys, made.keys, gone)
    others = _left(proposal.others, made.others, gone) if proposal.others else list(made.others)
    asked = (keys, others) if keys and others else ([], [])  # of a pair nothing is left without one of its ends
    if (made.kind, list(made.keys), list(made.others)) != (proposal.kind, *asked):
        raise AlreadyExistsError("decision", made.id.hex())
    return made


def _left(side: Iterable[bytes], kept: Collection[bytes], gone: Collection[bytes]) -> list[bytes]:
    return sorted(key for key in side if key in kept or key not in gone)
