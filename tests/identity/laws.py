"""What the laws of grouping are about: what happens in them, what is true behind it, and replicas to which it does."""

import asyncio
import itertools
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import NamedTuple
from uuid import uuid4

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity.clustering import cluster_identifiers
from sima_identity.evidence import Clustering, Decisions, Edge, Node, Pair, Refusal, Verdict, pair
from sima_identity.policy import Policy
from sima_identity.store.links import between
from sima_runtime.database import Database, fetch
from sima_runtime.errors import ContradictionError, InvalidFieldsError, NotFoundError
from sima_sdk.identifiers import BUILT_IN_KINDS, identifier_key

from .conftest import Named, Replica, Secret, Sighted, State, at, policy
from .policies import in_force

# Small, so that everything meets everything; with junk, a protected kind, and limits that are soon reached.
UNIVERSE = [
    *(Named("national_id", value) for value in ("1001", "1002", "0000000000")),
    *(Named("email", value) for value in ("a@x.example.com", "b@x.example.com", "c@x.example.com", "test@test.com")),
    *(Named("phone", value) for value in ("+966551000001", "+966551000002", "+966551000003")),
    *(Named("device_id", value) for value in ("d1", "d2", "d3", "unknown")),
    *(Named("anonymous_id", value) for value in ("c1", "c2", "c3", "c4")),
    *(Named("domain", value) for value in ("acme.example.com", "globex.example.com", "gmail.com")),
    Named("tax_number", "DE4711"),
]
JUNK = {"0000000000", "test@test.com", "unknown", "gmail.com"}
TIGHT = policy(
    most_identifiers=7,
    national_id={"most_per_profile": 1},
    email={"most_per_profile": 2, "shared_above": 4},
    phone={"shared_above": 3},
    device_id={"most_per_profile": 2, "shared_above": 3},
    anonymous_id={"most_per_profile": 2, "shared_above": 3},
    domain={"most_per_profile": 1},
)
SIGHTINGS = st.lists(
    st.builds(
        Sighted,
        identifiers=st.lists(st.sampled_from(UNIVERSE), min_size=1, max_size=4, unique=True),
        minute=st.integers(0, 3),
        source=st.sampled_from(["shop", "till"]),
    ),
    min_size=1,
    max_size=14,
)
DECISIONS = st.lists(
    st.tuples(
        st.sampled_from(Verdict),
        st.lists(
            st.sampled_from([named for named in UNIVERSE if named.value not in JUNK]),
            min_size=2,
            max_size=2,
            unique=True,
        ),
        st.booleans(),
    ),
    max_size=8,
)
ERASED = st.lists(st.sampled_from(UNIVERSE), min_size=1, max_size=4, unique=True)
RANDOM = st.randoms(use_true_random=False)
LAW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
#: Of laws about what many do at the same time no example can be told smaller by repeating it: none is tried.
RACE = settings(LAW, max_examples=int(os.environ.get("SIMA_RACES", "30")), phases=[Phase.explicit, Phase.generate])


MINUTE = 60_000_000  # in microseconds
Blocks = Callable[[Named, bytes], bool]
Decided = tuple[Verdict, list[Named], bool]


class Truth:
    """What the pure function says about everything that was seen."""

    def __init__(
        self,
        sightings: Sequence[Sighted],
        secret: bytes,
        rules: Policy,
        said: Iterable[tuple[Verdict, Named, Named]] = (),
        *,
        blocks: Blocks = lambda named, _: named.value in JUNK,
        erased: Collection[Named] = (),
    ) -> None:
        self.secret, self.erased = secret, erased
        sightings = [sighted._replace(identifiers=self.left(sighted)) for sighted in sightings]
        self.seen = list({named for sighted in sightings for named in sighted.identifiers})
        edges = [
            Edge(*pair(self.key(one), self.key(other)), sighted.minute)
            for sighted in sightings
            for each in (people_of(sighted), accounts_of(sighted))
            for one, other in itertools.combinations(each, 2)
        ]
        self.affiliations: dict[tuple[Named, Named], dict[str, int]] = {}
        for sighted in sightings:
            for tied in itertools.product(people_of(sighted), accounts_of(sighted)):
                seen = self.affiliations.setdefault(tied, {})
                seen[sighted.source] = min(sighted.minute, seen.get(sighted.source, sighted.minute))
        self.blocked = {named for named in self.seen if blocks(named, self.key(named))}
        first: dict[Named, int] = {}
        for sighted in sightings:
            for named in sighted.identifiers:
                first[named] = min(sighted.minute * MINUTE, first.get(named, sighted.minute * MINUTE))
        nodes = [
            Node(self.key(named), named.kind, Refusal.BLOCKED if named in self.blocked else None, first[named])
            for named in self.seen
        ]
        pairs = [(verdict, pair(self.key(one), self.key(other))) for verdict, one, other in said]
        always, never = (frozenset(ends for each, ends in pairs if each is verdict) for verdict in Verdict)
        self.clustering: Clustering = cluster_identifiers(nodes, edges, rules, Decisions(always, never))
        self.refusals: dict[Pair, str | None] = {
            (edge.low, edge.high): self.clustering.refused.get((edge.low, edge.high)) for edge in edges
        }

    def key(self, named: Named) -> bytes:
        """The key of an identifier."""
        return identifier_key(self.secret, named.kind, named.value)

    def left(self, sighted: Sighted) -> list[Named]:
        """The identifiers of a message that were not erased."""
        return [named for named in sighted.identifiers if named not in self.erased]

    def people(self) -> set[frozenset[Named]]:
        """Who is one person."""
        names = {self.key(named): named for named in self.seen}
        return {frozenset(names[key] for key in members) for members in self.clustering.clusters}

    def owner(self, sighted: Sighted) -> bytes:
        """The owner of a fact with these identifiers; empty if there is none."""
        good = [named for named in self.left(sighted) if named not in self.blocked]
        own = [named for named in good if self.key(named) not in self.clustering.shared]
        ranked = sorted(own or good, key=lambda named: (BUILT_IN_KINDS[named.kind].rank, self.key(named)))
        return self.key(ranked[0]) if ranked else b""

    def ties(self, members: Collection[Named]) -> dict[tuple[Named, Named], dict[str, datetime]]:
        """What ties those of a profile to others, and when each source first said so."""
        return {
            tied: {source: at(minute) for source, minute in sorted(seen.items())}
            for tied, seen in self.affiliations.items()
            if not self.blocked.union(self.shared()).intersection(tied) and not set(tied).isdisjoint(members)
        }

    def shared(self) -> set[Named]:
        """Those that belong to nobody alone."""
        return {named for named in self.seen if self.key(named) in self.clustering.shared}


def people_of(sighted: Sighted) -> list[Named]:
    """The identifiers of a message that are a person's."""
    return [named for named in sighted.identifiers if not BUILT_IN_KINDS[named.kind].account]


def accounts_of(sighted: Sighted) -> list[Named]:
    """The identifiers of a message that are a company's."""
    return [named for named in sighted.identifiers if BUILT_IN_KINDS[named.kind].account]


def batches(sightings: Sequence[Sighted], random: Random) -> list[list[Sighted]]:
    """The same sightings in some order, some of them several times, cut somehow into calls."""
    all_ = [*sightings, *(sighted for sighted in sightings if random.random() < 0.3)]
    random.shuffle(all_)
    cut: list[list[Sighted]] = []
    while all_:
        size = random.randint(1, len(all_))
        cut.append(all_[:size])
        del all_[:size]
    return cut


async def until_settled(database: Database, workspace: str) -> None:
    """Wait until nothing is left for the background."""
    async with asyncio.timeout(120):
        while True:
            async with database.statement() as connection:
                if not await fetch(connection, _UNSETTLED, {"workspace": workspace}):
                    return
            await asyncio.sleep(0.01)


_UNSETTLED = """SELECT FROM pending WHERE workspace = %(workspace)s UNION ALL
    SELECT FROM tombstones WHERE workspace = %(workspace)s AND NOT checked UNION ALL
    SELECT FROM policies WHERE workspace = %(workspace)s AND applied_at IS NULL
        AND version = (SELECT max(version) FROM policies WHERE workspace = %(workspace)s)"""


async def stored_refusals(database: Database, workspace: str) -> dict[Pair, str | None]:
    """Which edges are stored, and why they do not bind, as it is told."""
    async with database.statement() as connection:
        pairs = await fetch(connection, "SELECT low, high FROM edges WHERE workspace = %s", (workspace,))
        links = await between(connection, workspace, [(low, high) for low, high in pairs])
    return {link.pair: link.refusal for link in links}


def replayed(changes: Sequence[pb.ProfileChange]) -> dict[tuple[str, bytes], State]:
    """What a reader who began with nothing knows after a feed; each change must go on from the one before."""
    states: dict[tuple[str, bytes], State] = {}
    for change in changes:
        own = (change.identifier.kind, change.identifier.key)
        if change.cause == pb.CHANGE_CAUSE_ERASURE:
            assert change.identifier.value == change.profile_id == ""
            states.pop(own, None)
            continue
        before = State(change.previous_profile_id, change.previously_shared, change.previously_blocked)
        assert before == states.get(own, State("", shared=False, blocked=False))
        assert states.get(own) != State(change.profile_id, change.shared, change.blocked)
        states[own] = State(change.profile_id, change.shared, change.blocked)
    return states


def standings(changes: Iterable[pb.ProfileChange]) -> dict[bytes, tuple[bool, bool]]:
    """Which identifiers are shared or blocked after a feed."""
    last = {change.identifier.key: (change.shared, change.blocked) for change in changes}
    return {key: flags for key, flags in last.items() if any(flags)}


async def assert_settled(
    replica: Replica, database: Database, workspace: str, sightings: Sequence[Sighted], truth: Truth
) -> None:
    """What is stored, answered and told in the feed equals what the pure function says about everything."""
    states = await replica.states(workspace, truth.seen)
    profiles: defaultdict[str, set[Named]] = defaultdict(set)
    for named, state in states.items():
        assert state.blocked == (named in truth.blocked)
        assert state.shared == (truth.key(named) in truth.clustering.shared)
        assert (state.profile_id == "") == state.blocked
        if state.profile_id:
            profiles[state.profile_id].add(named)
    assert len(states) == len(truth.seen)
    assert set(map(frozenset, profiles.values())) == truth.people()
    assert await stored_refusals(database, workspace) == truth.refusals
    for members in profiles.values():
        assert await ties(replica, workspace, next(iter(members)), truth) == truth.ties(members)
    answers = await replica.resolve(workspace, sightings)
    owners = {truth.key(named): state.profile_id for named, state in states.items()} | {b"": ""}
    assert [answer.owner_key for answer in answers] == [truth.owner(sighted) for sighted in sightings]
    assert [answer.profile_id for answer in answers] == [owners[answer.owner_key] for answer in answers]
    assert not any(answer.pending for answer in answers)
    assert [answer.erased for answer in answers] == [
        len(truth.left(sighted)) < len(sighted.identifiers) for sighted in sightings
    ]
    gone = await replica.lookup(workspace, truth.erased) if truth.erased else []
    assert not any(result.identifiers for result in gone)
    changes = await replica.changes(workspace)
    feed = replayed(changes)
    assert standings(await replica.changes(workspace, standings_only=True)) == standings(changes)
    assert feed == {(named.kind, truth.key(named)): state for named, state in states.items()}


async def ties(
    replica: Replica, workspace: str, named: Named, truth: Truth
) -> dict[tuple[Named, Named], dict[str, datetime]]:
    """What is told to tie somebody to others, and when each source first said so."""
    names = {truth.key(each): each for each in truth.seen}
    listed = await replica.affiliations(workspace, named, size=2)
    told = {
        (names[each.person.key], names[each.account.key]): {
            one.source: one.first_seen_at.ToDatetime(UTC) for one in each.evidence
        }
        for each in listed
    }
    assert len(told) == len(listed)
    return told


@dataclass
class Fixture:
    """Two replicas with tight rules, the database below them, and the secrets."""

    replicas: Sequence[Replica]
    database: Database
    secret: Secret

    async def check(
        self,
        workspace: str,
        sightings: Sequence[Sighted],
        said: Iterable[tuple[Verdict, Named, Named]] = (),
        erased: Collection[Named] = (),
    ) -> None:
        """Wait for the background and compare everything with the pure function."""
        await until_settled(self.database, workspace)
        stated = await self.replicas[0].policy(workspace)
        rules, blocks = in_force(stated.policy, TIGHT, self.secret(workspace))
        truth = Truth(sightings, self.secret(workspace), rules, said, blocks=blocks, erased=erased)
        await assert_settled(self.replicas[0], self.database, workspace, sightings, truth)
        found = await self.replicas[0].lookup(workspace, truth.seen) if truth.seen else []
        assert {result.policy_version for result in found} <= {stated.version}

    async def interleave(
        self,
        sightings: Sequence[Sighted],
        decisions: Sequence[Decided],
        random: Random,
        rules: Sequence[pb.IdentityPolicy] = (),
        erased: Collection[Named] = (),
    ) -> None:
        """Have messages, decisions, policies and erasures arrive in any order, at the same time, and compare."""
        workspace = f"w{uuid4().hex}"
        known = sorted({named for sighted in sightings for named in sighted.identifiers if named.value not in JUNK})
        alone = [Sighted([named], 9) for named in known]  # one can decide only about what was seen
        if alone:
            await self.replicas[0].resolve(workspace, alone)
        possible = [each for each in decisions if set(each[1]) <= set(known)]
        calls: list[Callable[[], Awaitable[Said | None]]] = [
            *(partial(seen, random.choice(self.replicas), workspace, batch) for batch in batches(sightings, random)),
            *(partial(decide, random.choice(self.replicas), workspace, each) for each in possible),
            *(partial(rule, random.choice(self.replicas), workspace, each) for each in rules),
            *(partial(erase, random.choice(self.replicas), workspace, each) for each in erased),
        ]
        random.shuffle(calls)
        made = [each for each in await asyncio.gather(*(call() for call in calls)) if each and each.holds]
        said = [each[:3] for each in made if not {each.one, each.other}.intersection(erased)]
        await self.check(workspace, [*sightings, *alone], said, erased)


class Said(NamedTuple):
    """A decision that was made, and whether it still holds."""

    verdict: Verdict
    one: Named
    other: Named
    holds: bool


async def seen(replica: Replica, workspace: str, batch: Sequence[Sighted]) -> None:
    """Have a batch resolved."""
    await replica.resolve(workspace, batch)


async def rule(replica: Replica, workspace: str, rules: pb.IdentityPolicy) -> None:
    """Set a policy."""
    await replica.set_policy(workspace, rules)


async def erase(replica: Replica, workspace: str, named: Named) -> None:
    """Have an identifier erased."""
    await replica.erase(workspace, [named])


async def decide(replica: Replica, workspace: str, decision: Decided) -> Said | None:
    """Decide something, unless there is a reason not to, and perhaps take it back at once."""
    verdict, (one, other), back = decision
    call = replica.always if verdict is Verdict.ALWAYS else replica.never
    try:
        outcome = await call(workspace, one, other)
    except (ContradictionError, InvalidFieldsError, NotFoundError):  # or one of the two is blocked, a hub or erased
        return None
    if back:
        await replica.withdraw(workspace, outcome.decision.id)
    return Said(verdict, one, other, not back)


async def deadlocks(database: Database) -> int:
    """How many deadlocks PostgreSQL has counted; it takes up to a second until all have been told."""
    await asyncio.sleep(1.2)
    async with database.statement() as connection:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        [(count,)] = await fetch(connection, query)
    return int(count)
