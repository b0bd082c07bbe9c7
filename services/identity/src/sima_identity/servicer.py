"""The contract `sima.identity.v1`: protobuf ⇄ domain calls."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from functools import lru_cache, partial
from typing import Any, TypeVar

import grpc.aio
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceServicer
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime import context
from sima_runtime.cursors import Cursor, Horizon
from sima_runtime.database import Database
from sima_runtime.errors import InvalidFieldsError, NotFoundError, Violation
from sima_runtime.feeds import Feed, Rows
from sima_runtime.paging import next_page_token, page_size
from sima_runtime.wire import datetime_to_timestamp, optional_timestamp
from sima_sdk.identifiers import IdentifierKinds

from sima_identity import places
from sima_identity.affiliating import Affiliations
from sima_identity.deciding import Decider
from sima_identity.decisions import DecisionKind, Outcome
from sima_identity.erasing import Eraser
from sima_identity.explainer import Explainer
from sima_identity.messages import (
    affiliation_to_proto,
    as_known_to_proto,
    change_to_proto,
    decision_to_proto,
    erasure_to_proto,
    growth_to_proto,
    hub_to_proto,
    id_to_proto,
    known_to_proto,
    link_to_proto,
    moved_to_proto,
    resolved_to_proto,
    shared_to_proto,
)
from sima_identity.past import Past
from sima_identity.policies import Policies
from sima_identity.policy_messages import policy_to_proto, progress_to_proto
from sima_identity.previewer import Previewer
from sima_identity.requests import RequestReader
from sima_identity.resolving import Resolver
from sima_identity.store import decisions, erasures, history, hubs, log, lookups

_WORKSPACES = 1024
_PAGE_ROWS = 2_000
_MOST_WAYS = 3  # that are looked for; on each of those before something was erased
_LAST = (True, 0)  # the rank of a kind whose plugin is gone
_HUBS_ONLY = {pb.SHARED_REASON_HUB: True, pb.SHARED_REASON_SEVERAL_PEOPLE: False}

_Context = grpc.aio.ServicerContext[Any, Any]
_Member = TypeVar("_Member", lookups.Member, history.Member)


class IdentityServicer(IdentityServiceServicer):
    """Serves identity for the workspace of each call."""

    def __init__(
        self,
        resolver: Resolver,
        decider: Decider,
        explainer: Explainer,
        database: Database,
        *,
        policies: Policies,
        previewer: Previewer,
        eraser: Eraser,
        past: Past,
        affiliations: Affiliations,
        feeds: Mapping[str, Feed],
        kinds: IdentifierKinds,
        secrets: Callable[[str], bytes],
    ) -> None:
        """Set up.

        Args:
            resolver: Records and groups.
            decider: Makes decisions and takes them back.
            explainer: Says why the grouping is as it is.
            past: Says who was one person.
            affiliations: Says who belongs to whom.
            policies: Knows the rules of the grouping.
            previewer: Tries rules out.
            eraser: Erases identifiers.
            database: The schema `identity`.
            feeds: The feed of changes, and that of standings only, by name.
            kinds: The known kinds of identifiers.
            secrets: Gives the secret of a workspace.
        """
        self._resolver, self._decider, self._explainer = resolver, decider, explainer
        self._policies, self._previewer, self._eraser, self._past = policies, previewer, eraser, past
        self._affiliations = affiliations
        self._database, self._feeds = database, feeds
        self._accounts = frozenset(name for name, kind in kinds.items() if kind.account)
        self._change = partial(change_to_proto, accounts=self._accounts)
        self._ranks = {name: kind.rank for name, kind in kinds.items()}
        self._reader = lru_cache(_WORKSPACES)(lambda workspace: RequestReader(kinds, secrets(workspace)))

    async def Resolve(self, request: pb.ResolveRequest, _: _Context) -> pb.ResolveResponse:  # noqa: N802
        """Record which identifiers were seen together and say whom they belong to."""
        workspace = context.current().workspace
        sightings = await self._reader(workspace).sightings(request)
        answers = await self._resolver.resolve(workspace, sightings)
        return pb.ResolveResponse(results=map(resolved_to_proto, answers))

    async def Lookup(self, request: pb.LookupRequest, _: _Context) -> pb.LookupResponse:  # noqa: N802
        """Find profiles by identifiers or ids."""
        workspace = context.current().workspace
        wanted = self._reader(workspace).wanted(request)
        async with self._database.statement() as connection:
            found = await lookups.lookup(connection, workspace, wanted)
        return pb.LookupResponse(results=self._profiles(found, len(wanted)))

    async def ListProfileChanges(  # noqa: N802
        self, request: pb.ListProfileChangesRequest, _: _Context
    ) -> pb.ListProfileChangesResponse:
        """List the changes of a profile or an identifier."""
        workspace = context.current().workspace
        subject = self._reader(workspace).subject(request)
        size, after = page_size(request.page_size), places.place_before(request)
        async with self._database.statement() as connection:
            changes = await log.list_changes(connection, workspace, subject, after, size + 1)
        response = pb.ListProfileChangesResponse(changes=map(self._change, changes[:size]))
        if len(changes) > size:
            place = changes[size - 1].place
            response.next_page_token = next_page_token((place.epoch, place.xid, place.seq), request)
        return response

    async def WatchProfileChanges(  # noqa: N802
        self, request: pb.WatchProfileChangesRequest, _: _Context
    ) -> AsyncIterator[pb.WatchProfileChangesResponse]:
        """Stream the feed."""
        workspace = context.current().workspace
        feed = self._feeds[log.STANDINGS if request.standings_only else log.FEED]
        read = partial(self._read_page, feed.name, workspace)
        pages = feed.pages(request.cursor, read, workspace=workspace, until_now=request.until_now)
        async with aclosing(pages):
            async for page in pages:
                yield pb.WatchProfileChangesResponse(
                    changes=map(self._change, page.items),
                    cursor=page.cursor,
                    complete_until=optional_timestamp(page.complete_until),
                )

    async def Split(self, request: pb.SplitRequest, _: _Context) -> pb.SplitResponse:  # noqa: N802
        """Decide that identifiers of a profile are somebody else."""
        workspace = context.current().workspace
        proposal, by = self._reader(workspace).split(request)
        outcome = await self._decider.decide(workspace, proposal, by)
        return pb.SplitResponse(outcome=await self._outcome(workspace, outcome))

    async def NeverLink(self, request: pb.NeverLinkRequest, _: _Context) -> pb.NeverLinkResponse:  # noqa: N802
        """Decide that two identifiers are not one person."""
        workspace = context.current().workspace
        proposal, by = self._reader(workspace).link(request, DecisionKind.NEVER_LINK)
        outcome = await self._decider.decide(workspace, proposal, by)
        return pb.NeverLinkResponse(outcome=await self._outcome(workspace, outcome))

    async def AlwaysLink(self, request: pb.AlwaysLinkRequest, _: _Context) -> pb.AlwaysLinkResponse:  # noqa: N802
        """Decide that two identifiers are one person."""
        workspace = context.current().workspace
        proposal, by = self._reader(workspace).link(request, DecisionKind.ALWAYS_LINK)
        outcome = await self._decider.decide(workspace, proposal, by)
        return pb.AlwaysLinkResponse(outcome=await self._outcome(workspace, outcome))

    async def WithdrawDecision(  # noqa: N802
        self, request: pb.WithdrawDecisionRequest, _: _Context
    ) -> pb.WithdrawDecisionResponse:
        """Take a decision back."""
        workspace = context.current().workspace
        decision, by = self._reader(workspace).withdrawal(request)
        outcome = await self._decider.withdraw(workspace, decision, by)
        return pb.WithdrawDecisionResponse(outcome=await self._outcome(workspace, outcome))

    async def ListDecisions(self, request: pb.ListDecisionsRequest, _: _Context) -> pb.ListDecisionsResponse:  # noqa: N802
        """List the decisions about an identifier or a profile."""
        workspace = context.current().workspace
        subject = self._reader(workspace).subject(request)
        size, after = page_size(request.page_size), places.time_and_id_before(request)
        async with self._database.statement() as connection:
            found = await decisions.listed(connection, workspace, subject, after, size + 1)
        names = await self._names(workspace, [key for each in found for key in (*each.keys, *each.others)])
        response = pb.ListDecisionsResponse(decisions=[decision_to_proto(each, names) for each in found[:size]])
        if len(found) > size and (at := found[size - 1].decided_at) is not None:
            response.next_page_token = places.token_behind(at, found[size - 1].id, request)
        return response

    async def ExplainLink(self, request: pb.ExplainLinkRequest, _context: _Context) -> pb.ExplainLinkResponse:  # noqa: N802
        """Say why two identifiers are one person, or what keeps them apart."""
        workspace = context.current().workspace
        one, other = self._reader(workspace).two(request)
        for _ in range(_MOST_WAYS):
            linked, chain, partial = await self._explainer.explain(workspace, one, other)
            names = await self._names(workspace, ends := {key for link in chain for key in link.pair})
            if names.keys() >= ends:  # else some were erased meanwhile, and the way is another one
                break
        else:
            chain, partial = [link for link in chain if names.keys() >= set(link.pair)], True
        shown = [link_to_proto(link, names) for link in chain]
        return pb.ExplainLinkResponse(linked=linked, chain=shown, partial=partial)

    async def GetProfileGraph(  # noqa: N802
        self, request: pb.GetProfileGraphRequest, _: _Context
    ) -> pb.GetProfileGraphResponse:
        """Answer the identifiers of a profile with all that lies between them and around them."""
        workspace = context.current().workspace
        graph = await self._explainer.graph(workspace, self._reader(workspace).subject(request))
        decided = {key for decision in graph.decisions for key in (*decision.keys, *decision.others)}
        names = await self._names(workspace, decided | {key for link in graph.links for key in link.pair})
        return pb.GetProfileGraphResponse(
            profile_id=id_to_proto(graph.profile_id),
            identifiers=map(known_to_proto, self._by_strength(graph.members)),
            links=[link_to_proto(link, names) for link in graph.links if names.keys() >= set(link.pair)],
            decisions=[decision_to_proto(decision, names) for decision in graph.decisions],
            partial=graph.partial,
            policy_version=graph.policy_version,
        )

    async def GetIdentityPolicy(  # noqa: N802
        self, request: pb.GetIdentityPolicyRequest, _: _Context
    ) -> pb.GetIdentityPolicyResponse:
        """Answer the policy in force, or an earlier one."""
        stated = await self._policies.stated(context.current().workspace, request.version or None)
        if stated is None and request.version:
            raise NotFoundError("policy", str(request.version))
        return pb.GetIdentityPolicyResponse(policy=policy_to_proto(stated, self._policies))

    async def SetIdentityPolicy(  # noqa: N802
        self, request: pb.SetIdentityPolicyRequest, _: _Context
    ) -> pb.SetIdentityPolicyResponse:
        """Set the policy."""
        workspace = context.current().workspace
        rules, by, expected = self._reader(workspace).new_policy(request, self._policies.base)
        once = request.unless_in_force
        stated = await self._policies.set(workspace, rules, by, expected, unless_in_force=once)
        return pb.SetIdentityPolicyResponse(policy=policy_to_proto(stated, self._policies))

    async def PreviewIdentityPolicy(  # noqa: N802
        self, request: pb.PreviewIdentityPolicyRequest, _: _Context
    ) -> AsyncIterator[pb.PreviewIdentityPolicyResponse]:
        """Stream how far trying out a policy has got, and what it would change."""
        workspace = context.current().workspace
        rules, one_in, examples = self._reader(workspace).preview(request, self._policies.base)
        async with aclosing(self._previewer.preview(workspace, rules, one_in, examples)) as steps:
            async for progress in steps:
                found = () if progress.effect is None else progress.effect.keys()
                yield progress_to_proto(progress, await self._names(workspace, found))

    async def EraseIdentifiers(  # noqa: N802
        self, request: pb.EraseIdentifiersRequest, _: _Context
    ) -> pb.EraseIdentifiersResponse:
        """Erase identifiers."""
        workspace = context.current().workspace
        keys, profile, by = self._reader(workspace).erasure(request)
        erased, changes, pending = await self._eraser.erase(workspace, keys, profile, by)
        names = await self._names(workspace, [row.key for row in changes])
        return pb.EraseIdentifiersResponse(
            erased_at=datetime_to_timestamp(erased.erased_at),
            identifiers_erased=erased.identifiers,
            changes=[moved_to_proto(row, names, self._accounts, by) for row in changes if row.key in names],
            pending=pending,
        )

    async def ListErasures(self, request: pb.ListErasuresRequest, _: _Context) -> pb.ListErasuresResponse:  # noqa: N802
        """List who had identifiers erased."""
        workspace = context.current().workspace
        size, after = page_size(request.page_size), places.time_and_id_before(request)
        async with self._database.statement() as connection:
            found = await erasures.listed(connection, workspace, after, size + 1)
        response = pb.ListErasuresResponse(erasures=map(erasure_to_proto, found[:size]))
        if len(found) > size:
            response.next_page_token = places.token_behind(found[size - 1].erased_at, found[size - 1].id, request)
        return response

    async def LookupAsKnown(self, request: pb.LookupAsKnownRequest, _: _Context) -> pb.LookupAsKnownResponse:  # noqa: N802
        """Find profiles as they were known at a moment."""
        workspace = context.current().workspace
        wanted, known_at = self._reader(workspace).as_known(request)
        async with self._database.statement() as connection:
            found, fits = await history.as_known(connection, workspace, wanted, known_at)
        _check_size(fits)
        results = (found.get(number, history.Found(None, ())) for number in range(len(wanted)))
        return pb.LookupAsKnownResponse(
            results=[as_known_to_proto(profile_id, self._by_strength(members)) for profile_id, members in results]
        )

    async def LookupAsOf(self, request: pb.LookupAsOfRequest, _: _Context) -> pb.LookupAsOfResponse:  # noqa: N802
        """Find who was one person at a moment."""
        workspace = context.current().workspace
        wanted, as_of = self._reader(workspace).as_of(request)
        found = await self._past.lookup(workspace, wanted, as_of)
        return pb.LookupAsOfResponse(results=self._profiles(found, len(wanted)))

    async def ListShared(self, request: pb.ListSharedRequest, _: _Context) -> pb.ListSharedResponse:  # noqa: N802
        """List the identifiers that belong to nobody alone."""
        workspace = context.current().workspace
        size, after = page_size(request.page_size), places.number_and_id_before(request, places.BIT)
        hub = _HUBS_ONLY.get(request.reason)
        async with self._database.statement() as connection:
            found = await hubs.list_shared(connection, workspace, hub, after, size + 1)
        response = pb.ListSharedResponse(identifiers=map(shared_to_proto, found[:size]))
        if len(found) > size:
            position = (int(found[size - 1].hub), found[size - 1].key.hex())
            response.next_page_token = next_page_token(position, request)
        return response

    async def ListHubs(self, request: pb.ListHubsRequest, _: _Context) -> pb.ListHubsResponse:  # noqa: N802
        """List the identifiers that were seen with many others."""
        workspace = context.current().workspace
        size, after = page_size(request.page_size), places.number_and_id_before(request, places.BIGINT)
        async with self._database.statement() as connection:
            found = await hubs.list_hubs(connection, workspace, after, size + 1)
        response = pb.ListHubsResponse(hubs=map(hub_to_proto, found[:size]))
        if len(found) > size and (degree := found[size - 1].degree) is not None:
            response.next_page_token = next_page_token((degree.identifiers, found[size - 1].key.hex()), request)
        return response

    async def ListGrowth(self, request: pb.ListGrowthRequest, _: _Context) -> pb.ListGrowthResponse:  # noqa: N802
        """List what grew suspiciously."""
        workspace = context.current().workspace
        size, after = page_size(request.page_size), places.time_and_id_before(request)
        async with self._database.statement() as connection:
            found = await hubs.list_growth(connection, workspace, after, size + 1)
        response = pb.ListGrowthResponse(growth=map(growth_to_proto, found[:size]))
        if len(found) > size:
            last = found[size - 1]
            response.next_page_token = places.token_behind(last.noticed_at, last.subject, request)
        return response

    async def ListAffiliations(  # noqa: N802
        self, request: pb.ListAffiliationsRequest, _: _Context
    ) -> pb.ListAffiliationsResponse:
        """List what ties a person to companies, or a company to its people."""
        workspace = context.current().workspace
        wanted = self._reader(workspace).subject(request)
        size, after = page_size(request.page_size), places.two_ids_before(request)
        found, behind = await self._affiliations.of(workspace, wanted, after, size)
        response = pb.ListAffiliationsResponse(affiliations=map(affiliation_to_proto, found))
        if behind is not None:
            response.next_page_token = next_page_token(tuple(key.hex() for key in behind), request)
        return response

    async def _outcome(self, workspace: str, outcome: Outcome) -> pb.Outcome:
        decision, changes, pending, also = outcome
        keys = [*decision.keys, *decision.others, *(row.key for row in changes)]
        names = await self._names(workspace, keys)
        return pb.Outcome(
            decision=decision_to_proto(decision, names),
            changes=[moved_to_proto(row, names, self._accounts, decision) for row in changes if row.key in names],
            pending=pending,
            also_decided=map(id_to_proto, also),
        )

    async def _names(self, workspace: str, keys: Collection[bytes]) -> Mapping[bytes, Identifier]:
        if not keys:
            return {}
        async with self._database.statement() as connection:
            found = await decisions.values(connection, workspace, keys)
        return {key: Identifier(kind=kind, value=value or "", key=key) for key, (kind, value) in found.items()}

    async def _read_page(self, feed: str, workspace: str, after: Cursor, horizon: Horizon) -> Rows[list[log.Change]]:
        async with self._database.statement() as connection:
            return await log.read_page(connection, feed, workspace, after, horizon, limit=_PAGE_ROWS)

    def _profiles(self, found: Mapping[int, lookups.Found], count: int) -> list[pb.LookupResult]:
        """Return what was found of so many that were asked for."""
        _check_size(sum(len(profile.members) for profile in found.values()) <= lookups.MOST_MEMBERS)
        return [self._profile(found.get(number)) for number in range(count)]

    def _profile(self, found: lookups.Found | None) -> pb.LookupResult:
        if found is None:
            return pb.LookupResult()
        members = map(known_to_proto, self._by_strength(found.members))
        return pb.LookupResult(
            profile_id=id_to_proto(found.profile_id),
            identifiers=members,
            policy_version=found.policy_version,
            account=self._is_account(found),
        )

    def _is_account(self, profile: lookups.Found) -> bool:
        return any(member.kind in self._accounts for member in profile.members)

    def _by_strength(self, members: Iterable[_Member]) -> list[_Member]:
        return sorted(members, key=lambda member: (self._ranks.get(member.kind, _LAST), member.key))


def _check_size(fits: bool) -> None:
    if not fits:
        expected = f"expected profiles that have at most {lookups.MOST_MEMBERS} identifiers together"
        raise InvalidFieldsError([Violation("keys", expected)])
