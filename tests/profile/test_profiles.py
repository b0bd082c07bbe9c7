"""Profiles, folded from real facts."""

import pytest
from sima.profile.v1 import profile_service_pb2 as pb
from sima.type.v1.fact_pb2 import (
    CONSENT_STATUS_DENIED,
    CONSENT_STATUS_GRANTED,
    METHOD_DECLARED,
    METHOD_OBSERVED,
    ConsentStatement,
    Event,
    Fact,
    TraitObservation,
)
from sima.type.v1.identifier_pb2 import Identifier
from sima.type.v1.value_pb2 import Value
from sima_runtime.errors import InvalidFieldsError, NotFoundError

from .conftest import Stack, at, by, email

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADA = by(email("ada"))


def said(seconds: float, source: str = "web", method: int = METHOD_OBSERVED, **traits: str) -> Fact:
    """What a source says about Ada's traits."""
    observations = [
        TraitObservation(trait=trait, value=Value(text=value), method=method)  # type: ignore[arg-type]
        for trait, value in traits.items()
    ]
    return Fact(source=source, identifiers=[email("ada")], occurred_at=at(seconds), traits=observations)


def trait(profile: pb.Profile, name: str) -> pb.Trait:
    """One trait of a profile."""
    [found] = [trait for trait in profile.traits if trait.trait == name]
    return found


def texts(values: list[pb.SourcedValue]) -> list[str]:
    """Only the values."""
    return [value.value.text for value in values]


async def test_each_trait_survives_by_its_own_policy(stack: Stack) -> None:
    """The latest, the most trusted, the declared one, or all: as configured; losing values stay visible."""
    await stack.ingest(
        said(1, "crm", METHOD_DECLARED, city="Riyadh", trusted="a", declared="a", interests="a"),
        said(2, "shop", city="Tehran", trusted="b", declared="b", interests="b"),
        said(3, "web", city="Berlin", trusted="c", declared="c", interests="c"),
    )
    profile = await stack.profile(ADA)
    assert {
        name: texts(list(trait(profile, name).values)) for name in ("city", "trusted", "declared", "interests")
    } == {
        "city": ["Berlin"],
        "trusted": ["a"],
        "declared": ["a"],
        "interests": ["c", "b", "a"],
    }
    city = trait(profile, "city")
    assert texts(list(city.alternatives)) == ["Tehran", "Riyadh"]
    assert (city.values[0].source, city.values[0].observed_at) == ("web", at(3))
    assert city.survivorship == pb.SURVIVORSHIP_MOST_RECENT
    assert city.contradiction
    assert not trait(profile, "interests").contradiction


async def test_values_keep_their_types(stack: Stack) -> None:
    """Text, number, truth and time come back as they were said."""
    values = {"t": Value(text="42"), "n": Value(number=42), "b": Value(boolean=True), "i": Value(time=at(0.000001))}
    observations = [TraitObservation(trait=name, value=value) for name, value in values.items()]
    await stack.ingest(Fact(source="web", identifiers=[email("ada")], traits=observations))
    profile = await stack.profile(ADA)
    assert {item.trait: item.values[0].value for item in profile.traits} == values


async def test_a_profile_is_one_person_whatever_it_is_asked_by(stack: Stack) -> None:
    """Facts of all identifiers meet; any identifier, in any spelling, and the id lead there."""
    phone = Identifier(kind="phone", value="+966 50 123 4567")
    await stack.ingest(
        said(1, city="Riyadh"),
        Fact(source="shop", identifiers=[phone], occurred_at=at(5), event=Event(name="order_completed")),
        Fact(source="crm", identifiers=[phone, email("ada")], occurred_at=at(3)),
    )
    profile = await stack.profile(ADA)
    assert [identifier.value for identifier in profile.identifiers] == ["ada@example.com", "+966501234567"]
    assert (profile.event_count, profile.first_seen_at, profile.last_seen_at) == (1, at(1), at(5))
    local = pb.ProfileKey(identifier=Identifier(kind="phone", value="٠٥٠١٢٣٤٥٦٧"), default_region="SA")
    shouted = by(Identifier(kind="email", value="ADA@EXAMPLE.COM"))
    found = await stack.profiles(pb.ProfileKey(profile_id=profile.profile_id), local, shouted, by(email("bob")))
    assert [result.profile for result in found] == [profile, profile, profile, pb.Profile()]


async def test_a_key_with_a_region_that_is_none_is_refused_for_its_region(stack: Stack) -> None:
    """Rather than for a number that may well be right in the region that was meant."""
    key = pb.ProfileKey(identifier=Identifier(kind="phone", value="020 7946 0958"), default_region="UK")
    with pytest.raises(InvalidFieldsError) as refused:
        await stack.profiles(key)
    assert [violation.field for violation in refused.value.violations] == ["keys[0].default_region"]


async def test_two_people_in_one_batch_keep_their_own_facts(stack: Stack) -> None:
    """Nothing of one shows in the other."""
    bob = Fact(source="web", identifiers=[email("bob")], occurred_at=at(2), event=Event(name="e"))
    bob.traits.add(trait="city", value=Value(text="Oslo"))
    bob.consents.add(purpose="ads", status=CONSENT_STATUS_DENIED)
    await stack.ingest(said(1, city="Riyadh"), bob)
    ada, other = [result.profile for result in await stack.profiles(ADA, by(email("bob")))]
    assert (texts(list(trait(ada, "city").values)), ada.event_count, len(ada.consents)) == (["Riyadh"], 0, 0)
    assert (texts(list(trait(other, "city").values)), other.event_count, len(other.consents)) == (["Oslo"], 1, 1)


async def test_protected_identifiers_show_only_their_key(stack: Stack) -> None:
    """A passport leads to the profile, and its number is nowhere in the database."""
    passport = Identifier(kind="passport", value="A 1234567")
    fact = Fact(source="crm", identifiers=[passport, email("ada")], event=Event(name="e"))
    await stack.ingest(fact, Fact(source="crm", identifiers=[Identifier(kind="passport", value="?" * 600)]))
    profile = await stack.profile(by(passport))
    assert [(item.kind, item.value, len(item.key)) for item in profile.identifiers] == [
        ("passport", "", 16),
        ("email", "ada@example.com", 16),
    ]
    for table in ("facts", "observations", "consents", "conflicts"):
        found = await stack.rows(f"SELECT FROM {table} AS held WHERE held::text LIKE %s", "%1234567%")
        assert found == []


async def test_consent_is_denied_by_one_denial_and_unknown_without_statement(stack: Stack) -> None:
    """Per identifier the latest counts; over the profile one denial denies; nothing else appears."""
    phone = Identifier(kind="phone", value="+4930901820")
    granted, denied = CONSENT_STATUS_GRANTED, CONSENT_STATUS_DENIED

    def stated(seconds: float, identifier: Identifier, **purposes: int) -> Fact:
        consents = [ConsentStatement(purpose=purpose, status=status) for purpose, status in purposes.items()]  # type: ignore[arg-type]
        return Fact(source="web", identifiers=[identifier], occurred_at=at(seconds), consents=consents)

    await stack.ingest(
        stated(1, email("ada"), news=denied, ads=granted, sms=granted),
        stated(2, email("ada"), news=granted, ads=granted),
        stated(3, phone, ads=denied),
        Fact(source="crm", identifiers=[phone, email("ada")]),
    )
    profile = await stack.profile(ADA)
    assert [(item.purpose, item.status, item.stated_at) for item in profile.consents] == [
        ("ads", denied, at(3)),
        ("news", granted, at(2)),
        ("sms", granted, at(1)),
    ]


async def test_consent_holds_for_every_identifier_of_its_message(stack: Stack) -> None:
    """A denial given with e-mail and phone stays with both when they are asked for as different people."""
    fact = Fact(source="web", identifiers=[email("ada"), Identifier(kind="device_id", value="tablet")])
    fact.consents.add(purpose="ads", status=CONSENT_STATUS_DENIED)
    others = [
        Fact(source="web", identifiers=[email(f"p{i}"), Identifier(kind="device_id", value="tablet")])
        for i in range(25)
    ]
    await stack.ingest(fact, *others)
    await stack.settled()
    tablet = await stack.profile(by(Identifier(kind="device_id", value="tablet")))
    assert [identifier.value for identifier in tablet.identifiers] == ["tablet"]
    assert [item.status for item in tablet.consents] == [CONSENT_STATUS_DENIED]
    assert [item.status for item in (await stack.profile(ADA)).consents] == [CONSENT_STATUS_DENIED]


async def test_ten_thousand_observations_of_one_trait_fold_like_few(stack: Stack) -> None:
    """Only the latest of each source are weighed, other traits are not pushed aside, and a union still has all."""
    facts = [said(i, f"s{i % 3}", city=f"c{i}", interests=f"i{i % 700}") for i in range(10_000)]
    await stack.ingest(said(-1, "crm", METHOD_DECLARED, name="Ada", declared="x"), *facts[:5000])
    await stack.ingest(*reversed(facts[5000:]))
    profile = await stack.profile(ADA)
    city = trait(profile, "city")
    assert texts(list(city.values)) == ["c9999"]
    assert texts(list(city.alternatives)) == [f"c{i}" for i in range(9998, 9978, -1)]
    assert texts(list(trait(profile, "name").values)) == ["Ada"]
    assert texts(list(trait(profile, "declared").values)) == ["x"]
    assert len(trait(profile, "interests").values) == 700


async def test_who_is_not_known_is_not_found(stack: Stack) -> None:
    """One is an error that does not repeat whom it was about; among many it is an empty place."""
    with pytest.raises(NotFoundError) as error:
        await stack.profile(ADA)
    assert (error.value.resource, error.value.name) == ("profile", "email")
    with pytest.raises(NotFoundError):
        await stack.profile(pb.ProfileKey(profile_id="0" * 32))
    assert [result.HasField("profile") for result in await stack.profiles(ADA, ADA)] == [False, False]


async def test_every_bad_key_of_a_request_is_named(stack: Stack) -> None:
    """All of them at once, each by its path."""
    mail, size = by(Identifier(kind="email", value="?")), by(Identifier(kind="shoe_size", value="42"))
    bad = [pb.ProfileKey(), mail, size, ADA, pb.ProfileKey(profile_id="A" * 32)]
    with pytest.raises(InvalidFieldsError) as error:
        await stack.profiles(*bad)
    assert [violation.field for violation in error.value.violations] == [
        "keys[0]",
        "keys[1].identifier.value",
        "keys[2].identifier.kind",
        "keys[4].profile_id",
    ]
    with pytest.raises(InvalidFieldsError, match=r"key\.identifier\.value"):
        await stack.profile(bad[1])
    with pytest.raises(InvalidFieldsError, match=r"key\.profile_id"):
        await stack.profile(pb.ProfileKey(profile_id="no id"))
    with pytest.raises(InvalidFieldsError, match="keys: expected 1 to 1000"):
        await stack.profiles()
