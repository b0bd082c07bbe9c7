"""What is taken as a fact, and what is said about the rest."""

import math
from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from sima.type.v1.fact_pb2 import (
    CONSENT_STATUS_DENIED,
    CONSENT_STATUS_GRANTED,
    METHOD_DECLARED,
    ConsentStatement,
    Event,
    Fact,
    TraitObservation,
)
from sima.type.v1.identifier_pb2 import Identifier
from sima.type.v1.value_pb2 import Value
from sima_profile.facts import CheckedConsent, CheckedFact, CheckedTrait
from sima_profile.validation import MAX_PROPERTIES, MAX_STATEMENTS, FactReader, IdentifierReader
from sima_profile.values import MAX_TEXT, fill_from_json, to_json
from sima_runtime.context import workspace_secret
from sima_runtime.errors import InvalidFieldsError
from sima_runtime.wire import micros_to_timestamp
from sima_sdk.identifiers import BUILT_IN_KINDS, IdentifierKinds, identifier_key

MASTER_KEY = b"m" * 32
SECRET = workspace_secret(MASTER_KEY, "main")
IDENTIFIERS = IdentifierReader(IdentifierKinds(BUILT_IN_KINDS), MASTER_KEY)
NOW = 1_770_000_000_000_000
DAY = 86_400_000_000
ADA = Identifier(kind="email", value="ada@example.com")


def read(message: Fact) -> CheckedFact:
    """Read a fact at a fixed time."""
    return FactReader("main", IDENTIFIERS, NOW).fact(message)


def fact(**fields: Any) -> Fact:
    """A fact that can be stored, but for `fields`."""
    return Fact(**{"source": "web", "message_id": "m1", "identifiers": [ADA], **fields})


def violations(message: Fact) -> dict[str, str]:
    """What is wrong with a fact, by field."""
    with pytest.raises(InvalidFieldsError) as refused:
        read(message)
    return {violation.field: violation.description for violation in refused.value.violations}


def test_identifiers_arrive_in_their_normal_form_and_each_once() -> None:
    """Two spellings of one address are one identifier."""
    message = fact(identifiers=[ADA, Identifier(kind="email", value=" ADA@Example.COM ")])
    [identifier] = read(message).identifiers
    assert identifier == ("email", "ada@example.com", identifier_key(SECRET, "email", "ada@example.com"))


def test_protected_values_are_dropped_at_once() -> None:
    """Of a passport only the key goes on."""
    [identifier] = read(fact(identifiers=[Identifier(kind="passport", value="A 123")])).identifiers
    assert identifier.value is None
    assert identifier.key == identifier_key(SECRET, "passport", "A123")


def test_a_protected_identifier_may_come_as_its_key_alone() -> None:
    """A collector that dropped the value already sends the key."""
    key = identifier_key(SECRET, "passport", "A123")
    assert read(fact(identifiers=[Identifier(kind="passport", key=key)])).identifiers == (("passport", None, key),)


@pytest.mark.parametrize(
    ("identifier", "field"),
    [
        (Identifier(kind="shoe_size", value="42"), "identifiers[0].kind"),
        (Identifier(kind="email"), "identifiers[0].value"),
        (Identifier(kind="email", value="not an address"), "identifiers[0].value"),
        (Identifier(kind="phone", value="030 123456"), "identifiers[0].value"),
        (Identifier(kind="email", value="ada@example.com", key=b"x" * 16), "identifiers[0].key"),
        (Identifier(kind="email", key=identifier_key(SECRET, "email", "ada@example.com")), "identifiers[0].key"),
        (Identifier(kind="passport", key=b"short"), "identifiers[0].key"),
    ],
)
def test_a_bad_identifier_is_named_by_its_field(identifier: Identifier, field: str) -> None:
    """The path leads to the part that is wrong."""
    assert list(violations(fact(identifiers=[identifier]))) == [field]


def test_a_local_phone_number_is_read_in_the_region_of_the_fact() -> None:
    """The source's region gives a local number its country."""
    message = fact(identifiers=[Identifier(kind="phone", value="030 901820")], default_region="DE")
    assert read(message).identifiers[0].value == "+4930901820"


def test_a_region_is_one_in_which_phone_numbers_are_read() -> None:
    """In any case; anything else is named, rather than all phone numbers refused without saying why."""
    local = Identifier(kind="phone", value="030 901820")
    assert read(fact(identifiers=[local], default_region="de")).identifiers[0].value == "+4930901820"
    expected = "expected a region of ISO 3166 that has phone numbers, such as GB or SA"
    for region in ("DEU", "UK", "\N{LATIN SMALL LETTER SHARP S}"):
        assert violations(fact(identifiers=[local], default_region=region)) == {"default_region": expected}


def test_beside_a_wrong_region_only_what_does_not_hang_on_it_is_named() -> None:
    """A number may well be right in the region that was meant."""
    given = [Identifier(kind="phone", value="020 7946 0958"), Identifier(kind="shoe_size", value="42")]
    assert list(violations(fact(identifiers=given, default_region="UK"))) == ["default_region", "identifiers[1].kind"]


def test_every_violation_is_named_at_once() -> None:
    """Whoever sends a bad fact hears everything that is wrong with it, and no value is repeated."""
    message = fact(
        source="",
        message_id="m" * 1001,
        identifiers=[Identifier(kind="email", value="secret-value"), ADA],
        occurred_at=micros_to_timestamp(NOW + DAY + 1),
        event=Event(name="\n", properties=b"[1]"),
        traits=[TraitObservation(), TraitObservation(trait="x", value=Value(number=math.nan), confidence=2)],
        consents=[ConsentStatement()],
    )
    found = violations(message)
    assert set(found) == {
        "source",
        "message_id",
        "identifiers[0].value",
        "occurred_at",
        "event.name",
        "event.properties",
        "traits[0].trait",
        "traits[0].value",
        "traits[1].value",
        "traits[1].confidence",
        "consents[0].purpose",
        "consents[0].status",
    }
    assert "secret-value" not in str(found)


@pytest.mark.parametrize("count", [0, 51])
def test_a_fact_is_about_somebody_but_not_about_everybody(count: int) -> None:
    """At least one identifier and at most fifty."""
    identifiers = [Identifier(kind="user_id", value=f"u{i}") for i in range(count)]
    assert list(violations(fact(identifiers=identifiers))) == ["identifiers"]


@pytest.mark.parametrize(
    "properties",
    [
        b"{",
        b"null",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": 1e400}',
        b'{"order": 123456789012345678901234567890}',
        b'{"order": [{"id": -9223372036854775809}]}',
        b'{"order": 18446744073709551616}',
        b'{"order": 1' + b"0" * 5_000 + b"}",
        b'{"order": 1234567890123456789, "a":' + b"[" * 1_000 + b"]" * 1_000 + b"}",
        b'{"a": "\\ud800"}',
        b'\xff{"a": 1}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":"' + b"x" * MAX_PROPERTIES + b'"}',
    ],
)
def test_properties_that_are_no_json_object_are_refused(properties: bytes) -> None:
    """Whatever stands there instead, it is a refusal and never a crash."""
    assert list(violations(fact(event=Event(name="e", properties=properties)))) == ["event.properties"]


@pytest.mark.parametrize(
    "properties",
    [b'{"a":18446744073709551615}', b'{"a":-9223372036854775808}', b'{"a":"123456789012345678901234567890"}'],
)
def test_whole_numbers_of_64_bits_are_kept_as_they_are(properties: bytes) -> None:
    """And texts of digits, however long."""
    assert read(fact(event=Event(name="e", properties=properties))).properties == properties


def test_properties_are_kept_in_one_canonical_form() -> None:
    """The same object, spaced and ordered differently, is the same content."""
    one = read(fact(event=Event(name="e", properties=b'{"b": 1, "a": "\\u0633"}')))
    other = read(fact(event=Event(name="e", properties='{"a":"س","b":1}'.encode())))
    assert one == other
    assert one.properties == '{"a":"س","b":1}'.encode()


def test_an_event_without_properties_has_an_empty_object() -> None:
    """Readers can always parse what they get."""
    assert read(fact(event=Event(name="e"))).properties == b"{}"


def test_a_time_one_day_ahead_is_taken_and_one_microsecond_more_is_not() -> None:
    """Clocks differ, but not by more than a day."""
    assert read(fact(occurred_at=micros_to_timestamp(NOW + DAY))).stated_at == NOW + DAY
    assert list(violations(fact(occurred_at=micros_to_timestamp(NOW + DAY + 1)))) == ["occurred_at"]


@pytest.mark.parametrize(("seconds", "nanos"), [(-62_135_596_801, 0), (253_402_300_800, 0), (0, -1), (0, 10**9)])
def test_a_timestamp_that_is_none_is_refused(seconds: int, nanos: int) -> None:
    """Only the years 1 to 9999, and only proper fractions of a second."""
    message = fact()
    message.occurred_at.seconds, message.occurred_at.nanos = seconds, nanos
    expected = "expected an instant of the years 1 to 9999, with 0 to 999999999 nanos"
    assert violations(message) == {"occurred_at": expected}


def test_traits_and_consents_come_in_an_order_of_content() -> None:
    """Lists that a retry shuffles, or repeats, are the same lists."""
    city = TraitObservation(trait="city", value=Value(text="Riyadh"), method=METHOD_DECLARED, confidence=0.5)
    age = TraitObservation(trait="age", value=Value(number=33))
    granted = ConsentStatement(purpose="email", status=CONSENT_STATUS_GRANTED)
    denied = ConsentStatement(purpose="email", status=CONSENT_STATUS_DENIED)
    one = read(fact(traits=[city, age], consents=[granted, denied]))
    assert one == read(fact(traits=[age, city, age], consents=[denied, granted, granted]))
    assert one.traits == (
        CheckedTrait("age", "number", "33.0", "observed", 1.0),
        CheckedTrait("city", "text", '"Riyadh"', "declared", 0.5),
    )
    assert one.consents == (CheckedConsent("email", False), CheckedConsent("email", True))


@pytest.mark.parametrize(
    "value", [Value(text="a\0b"), Value(text="x" * (MAX_TEXT + 1)), Value(number=math.inf), Value(), None]
)
def test_a_value_that_cannot_be_stored_is_refused(value: Value | None) -> None:
    """The database takes no NUL, and infinity is no number to reckon with."""
    assert list(violations(fact(traits=[TraitObservation(trait="t", value=value)]))) == ["traits[0].value"]


def test_an_unknown_method_or_status_is_refused() -> None:
    """Numbers that a newer contract may give meaning to are not guessed at."""
    message = fact(
        traits=[TraitObservation(trait="t", value=Value(boolean=True), method=9)],  # type: ignore[arg-type]
        consents=[ConsentStatement(purpose="p", status=9)],  # type: ignore[arg-type]
    )
    assert set(violations(message)) == {"traits[0].method", "consents[0].status"}


def test_traits_and_consents_of_a_fact_are_at_most_a_thousand() -> None:
    """More are refused by each field; as many as may be are taken."""
    traits = [TraitObservation(trait="t", value=Value(number=i)) for i in range(MAX_STATEMENTS + 1)]
    consents = [ConsentStatement(purpose=f"p{i}", status=CONSENT_STATUS_DENIED) for i in range(MAX_STATEMENTS + 1)]
    expected = f"expected at most {MAX_STATEMENTS} items"
    assert violations(fact(traits=traits, consents=consents)) == {"traits": expected, "consents": expected}
    taken = read(fact(traits=traits[1:], consents=consents[1:]))
    assert (len(taken.traits), len(taken.consents)) == (MAX_STATEMENTS, MAX_STATEMENTS)


VALUES = st.one_of(
    st.builds(Value, text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
    st.builds(Value, number=st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)),
    st.builds(Value, boolean=st.booleans()),
    st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999).map(
        lambda micros: Value(time=micros_to_timestamp(micros))
    ),
)


@given(VALUES)
def test_values_survive_the_way_through_the_database(value: Value) -> None:
    """What a channel said is what a profile says."""
    read = Value()
    fill_from_json(read, *to_json(value))
    assert read == value


def test_minus_zero_is_zero() -> None:
    """Two spellings of one number are one value."""
    assert to_json(Value(number=-0.0)) == to_json(Value(number=0.0))


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    """Any message that protobuf can parse is taken or refused with fields."""
    message = Fact()
    try:
        message.ParseFromString(data)
    except DecodeError:  # not a message at all
        return
    with suppress(InvalidFieldsError):
        assert read(message).identifiers
