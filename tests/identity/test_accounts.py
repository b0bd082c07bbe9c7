"""Companies are found as people are, and people belong to them without ever becoming one by them."""

from collections import Counter
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity import affiliating
from sima_identity.store import affiliations
from sima_runtime.errors import InvalidFieldsError, PageTokenError
from sima_runtime.paging import next_page_token

from .conftest import Named, Replica, Sighted, at, cookie, device, identifier, mail, together, user
from .laws import LAW, RANDOM, Fixture
from .test_policies import applied

ACME, GLOBEX = (Named("domain", f"{name}.example.com") for name in ("acme", "globex"))
TAX = Named("tax_number", "DE4711")
CRM_ID = Named("account_id", "hubspot:77")

# Few, so that most messages show a person together with a company, and many of them nothing else that is new.
UNIVERSE = [mail("a"), cookie("c"), device("unknown"), ACME, TAX, Named("domain", "gmail.com")]
SIGHTINGS = st.lists(
    st.builds(
        Sighted,
        identifiers=st.lists(st.sampled_from(UNIVERSE), min_size=1, max_size=3, unique=True),
        minute=st.integers(0, 2),
        source=st.sampled_from(["shop", "till"]),
    ),
    min_size=1,
    max_size=10,
)


async def accounts(identity: Replica, workspace: str, subject: Named | str) -> set[tuple[Named, Named]]:
    """Which identifiers of people and companies belong together, by their values."""
    return {
        (Named(each.person.kind, each.person.value), Named(each.account.kind, each.account.value))
        for each in await identity.affiliations(workspace, subject)
    }


@LAW
@given(sightings=SIGHTINGS, random=RANDOM)
async def test_who_belongs_to_whom_does_not_depend_on_the_order(
    tight: Fixture,
    sightings: list[Sighted],
    random: Random,
) -> None:
    """One message after the other in any order: each source has first said so when it did."""
    workspace = f"w{uuid4().hex}"
    for sighted in random.sample(sightings, len(sightings)):
        await tight.replicas[0].resolve(workspace, [sighted])
    await tight.check(workspace, sightings)


async def test_colleagues_stay_several_people(identity: Replica, workspace: str) -> None:
    """Sixty people of one company, more than would make an identifier of people a hub, are sixty; it is one company."""
    people = [mail(f"p{number}") for number in range(60)]
    answers = await identity.resolve(workspace, [together(person, ACME) for person in people])
    assert len({answer.profile_id for answer in answers}) == 60
    [company] = await identity.lookup(workspace, [ACME])
    assert company.account
    assert [known.identifier.value for known in company.identifiers] == ["acme.example.com"]
    assert not company.identifiers[0].shared
    listed = await identity.affiliations(workspace, ACME, size=7)
    assert {each.profile_id for each in listed} == {answer.profile_id for answer in answers}
    assert {each.account_profile_id for each in listed} == {company.profile_id}


async def test_a_company_is_one_by_its_own_evidence(identity: Replica, workspace: str) -> None:
    """A domain, a tax number and an id of the CRM that records show together are one company, wherever people are."""
    await identity.resolve(workspace, [together(ACME, TAX, mail("ada")), together(TAX, CRM_ID, mail("eve"))])
    found = await identity.lookup(workspace, [ACME, TAX, CRM_ID, mail("ada"), mail("eve")])
    assert len({result.profile_id for result in found}) == 3
    assert [result.account for result in found] == [True, True, True, False, False]
    assert [known.identifier.kind for known in found[0].identifiers] == ["account_id", "tax_number", "domain"]
    assert await accounts(identity, workspace, found[0].profile_id) == {
        (mail("ada"), ACME), (mail("ada"), TAX), (mail("eve"), TAX), (mail("eve"), CRM_ID),
    }  # fmt: skip


async def test_a_fact_belongs_to_its_person(identity: Replica, workspace: str) -> None:
    """Before its company, however weak what names the person is; a fact about a company alone is the company's."""
    both, alone, junk = await identity.resolve(
        workspace, [together(cookie("c1"), TAX), together(TAX), together(device("unknown"), TAX)]
    )
    assert both.keys[0] == both.owner_key
    assert both.profile_id != alone.profile_id
    assert alone.owner_key == junk.owner_key == both.keys[1]


async def test_it_says_who_told_it_and_when_first(identity: Replica, workspace: str) -> None:
    """Each source with its first message; a message that is older than the known one takes its place."""
    for minute, source, message in ((5, "crm", "m5"), (3, "crm", "m3"), (4, "crm", "m4"), (6, "shop", "m6")):
        await identity.resolve(workspace, [Sighted([user("ada"), ACME], minute, source, message)])
    [told] = await identity.affiliations(workspace, user("ada"))
    assert [(one.source, one.message_id, one.first_seen_at.ToDatetime(at(0).tzinfo)) for one in told.evidence] == [
        ("crm", "m3", at(3)),
        ("shop", "m6", at(6)),
    ]


async def test_what_was_known_apart_is_told_together(identity: Replica, workspace: str) -> None:
    """Also where a message shows nothing new but that a known person belongs to a known company."""
    await identity.resolve(workspace, [together(mail("ada")), together(ACME)])
    assert await accounts(identity, workspace, ACME) == set()
    await identity.resolve(workspace, [together(mail("ada"), ACME, minute=1)])
    assert await accounts(identity, workspace, ACME) == {(mail("ada"), ACME)}


async def test_a_mail_provider_is_nobodys_company(identity: Replica, workspace: str) -> None:
    """Who writes `gmail.com` where a company's domain should stand belongs to none by it."""
    await identity.resolve(workspace, [together(mail("ada"), Named("domain", "https://www.gmail.com/"))])
    [found] = await identity.lookup(workspace, [Named("domain", "gmail.com")])
    assert found.identifiers[0].blocked
    assert await identity.affiliations(workspace, mail("ada")) == []


async def test_a_shared_tablet_is_of_no_company(identity: Replica, workspace: str) -> None:
    """What is nobody's leads to no company; its people do."""
    tablet = device("tablet-1")
    await identity.resolve(workspace, [together(mail("ada"), tablet, ACME), together(mail("eve"), tablet, GLOBEX)])
    assert await accounts(identity, workspace, ACME) == {(mail("ada"), ACME)}
    assert await identity.affiliations(workspace, tablet) == []


async def test_a_policy_can_block_a_company(identity: Replica, workspace: str) -> None:
    """As any value; and setting the old rules again brings it back."""
    await identity.resolve(workspace, [together(mail("ada"), ACME)])
    blocked = pb.IdentityPolicy(blocked_values=[identifier(ACME)])
    for rules, expected in ((blocked, set()), (pb.IdentityPolicy(), {(mail("ada"), ACME)})):
        await identity.set_policy(workspace, rules)
        await applied(identity, workspace)
        assert await accounts(identity, workspace, mail("ada")) == expected


async def test_companies_are_split_and_joined_as_people_are(identity: Replica, workspace: str) -> None:
    """A wrong merge of two companies is taken back by the same decisions, and their people follow."""
    await identity.resolve(workspace, [together(ACME, TAX, mail("ada")), together(GLOBEX, TAX, mail("eve"))])
    outcome = await identity.split(workspace, [GLOBEX], [ACME, TAX])
    assert [change.account for change in outcome.changes] == [True]
    found = await identity.lookup(workspace, [ACME, GLOBEX])
    assert found[0].profile_id != found[1].profile_id
    assert {person for person, _ in await accounts(identity, workspace, GLOBEX)} == {mail("eve")}
    await identity.withdraw(workspace, outcome.decision.id)
    assert {person for person, _ in await accounts(identity, workspace, GLOBEX)} == {mail("ada"), mail("eve")}


async def test_a_person_and_a_company_are_never_one(identity: Replica, workspace: str) -> None:
    """No decision joins them or keeps them apart, and there is nothing to explain between them: the answer says so."""
    await identity.resolve(workspace, [together(mail("ada"), ACME)])
    asked = (
        identity.always(workspace, mail("ada"), ACME),
        identity.never(workspace, mail("ada"), ACME),
        identity.split(workspace, [mail("ada")], [ACME]),
        identity.explain(workspace, mail("ada"), ACME),
    )
    for call in asked:
        with pytest.raises(InvalidFieldsError, match="all of people, or all of companies"):
            await call


async def test_who_is_erased_belongs_nowhere(identity: Replica, workspace: str) -> None:
    """Erasing a person leaves the company, and erasing a company its people; what is late is refused."""
    both = [together(mail("ada"), ACME), together(mail("eve"), ACME), together(mail("eve"), GLOBEX)]
    await identity.resolve(workspace, both)
    await identity.erase(workspace, [mail("ada")])
    await identity.erase(workspace, [GLOBEX])
    late = await identity.resolve(workspace, both)
    assert [answer.erased for answer in late] == [True, False, True]
    assert await accounts(identity, workspace, ACME) == {(mail("eve"), ACME)}
    assert await accounts(identity, workspace, mail("eve")) == {(mail("eve"), ACME)}


async def test_the_feed_says_what_is_a_company(identity: Replica, workspace: str) -> None:
    """A reader who is interested in people alone can leave out the rest without knowing all kinds."""
    await identity.resolve(workspace, [together(mail("ada"), ACME)])
    told = {change.identifier.kind: change.account for change in await identity.changes(workspace)}
    assert told == {"email": False, "domain": True}


async def test_affiliations_are_paged(identity: Replica, workspace: str) -> None:
    """In both directions, each pair once; a token of another list is refused."""
    domains = [Named("domain", f"c{number}.example.com") for number in range(5)]
    await identity.resolve(workspace, [together(mail("ada"), mail("ada2"), *domains)])
    all_ = await identity.affiliations(workspace, mail("ada"))
    assert len(all_) == 10
    assert await identity.affiliations(workspace, mail("ada"), size=3) == all_
    assert len(await identity.affiliations(workspace, domains[0], size=1)) == 10
    request = pb.ListAffiliationsRequest(identifier=identifier(ACME))
    request.page_token = next_page_token((1, "x"), request)
    with pytest.raises(PageTokenError):
        await identity.client.call(identity.stub.ListAffiliations, request, workspace=workspace)
    assert await identity.affiliations(workspace, mail("nobody")) == []


async def test_what_leads_nowhere_is_passed_over_in_a_few_queries(
    identity: Replica, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of tablets that are nobody's were seen with a company, and one person."""
    tablets = [device(f"tablet{number}") for number in range(300)]
    families = [together(each, mail(f"{who}{number}")) for number, each in enumerate(tablets) for who in "ab"]
    await identity.resolve(workspace, families)
    await identity.resolve(workspace, [together(each, ACME) for each in (*tablets, mail("ada"))])
    asked, pairs = Counter[int](), affiliations.pairs

    async def counted(*given: Any, **more: Any) -> Any:
        asked[given[-1]] += 1
        return await pairs(*given, **more)

    monkeypatch.setattr(affiliations, "pairs", counted)
    [one] = await identity.affiliations(workspace, ACME, 1)
    assert one.person.value == mail("ada").value
    assert asked.total() <= 4


async def test_a_page_of_affiliations_ends_where_too_much_leads_nowhere(
    identity: Replica, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds few or none then, and those behind it hold the rest."""
    monkeypatch.setattr(affiliating, "_AT_ONCE", 2)
    monkeypatch.setattr(affiliating, "_ROUNDS", 1)
    tablets, people = [device(f"t{number}") for number in range(40)], [mail(f"p{number}") for number in range(3)]
    families = [together(each, mail(f"{who}{number}")) for number, each in enumerate(tablets) for who in "ab"]
    await identity.resolve(workspace, families)
    await identity.resolve(workspace, [together(each, ACME) for each in (*tablets, *people)])
    request = pb.ListAffiliationsRequest(identifier=identifier(ACME), page_size=1)
    sizes: list[int] = []
    while not sizes or request.page_token:
        page = await identity.client.call(identity.stub.ListAffiliations, request, workspace=workspace)
        sizes.append(len(page.affiliations))
        request.page_token = page.next_page_token
    assert sum(sizes) == len(people)
    assert 0 in sizes[:-1]
    for size in (1, 2, 3, 100):
        told = await identity.affiliations(workspace, ACME, size)
        assert sorted(each.person.value for each in told) == [person.value for person in people]
