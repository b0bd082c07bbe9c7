"""Facts and identifiers keep their meaning between the SDK and the wire."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from sima.type.v1.fact_pb2 import CONSENT_STATUS_DENIED, CONSENT_STATUS_GRANTED, METHOD_DECLARED
from sima.type.v1.identifier_pb2 import Identifier as IdentifierMessage
from sima.type.v1.value_pb2 import Value
from sima_runtime.errors import InvalidFieldsError, InvalidIdentifierError
from sima_runtime.wire import (
    KeyedIdentifier,
    datetime_to_micros,
    datetime_to_timestamp,
    fact_to_proto,
    identifier_to_proto,
    keyed_identifier,
    micros_to_timestamp,
    timestamp_to_micros,
    value_to_proto,
)
from sima_sdk.facts import Consent, Event, Fact, Identifier, Method, Trait
from sima_sdk.identifiers import BUILT_IN_KINDS, IdentifierKinds, identifier_key

KINDS = IdentifierKinds(BUILT_IN_KINDS)
SECRET = b"s" * 32
NOON = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=3)))
INSTANTS = st.datetimes(
    datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))])
)


def fact(**changes: Any) -> Fact:
    """A fact with everything in it."""
    whole: dict[str, Any] = {
        "message_id": "m1",
        "identifiers": (Identifier("email", " ADA@Example.org "), Identifier("phone", "٠٥٠ ١٢٣ ٤٥٦٧")),
        "occurred_at": NOON,
        "event": Event("order_completed", {"total": 12.5, "city": "الرياض"}),
        "traits": (Trait("city", "Riyadh", Method.DECLARED, 0.5), Trait("vip", True), Trait("age", 41)),
        "consents": (Consent("email_marketing", True), Consent("profiling", False)),
    }
    return Fact(**(whole | changes))


def send(fact: Fact) -> Any:
    """The message of a fact of a shop in Riyadh."""
    return fact_to_proto(fact, "shop", "SA", KINDS, SECRET)


def content(message: Value) -> object:
    """What a message of a trait's value says."""
    kind = message.WhichOneof("kind")
    assert kind is not None
    return message.time.ToDatetime(UTC) if kind == "time" else getattr(message, kind)


def violations(fact: Fact) -> list[str]:
    """Paths of the fields for which a fact is refused."""
    with pytest.raises(InvalidFieldsError) as caught:
        send(fact)
    return [violation.field for violation in caught.value.violations]


def test_fact_is_complete_on_the_wire() -> None:
    """Everything that a connector states is in the message."""
    message = send(fact())
    assert (message.source, message.message_id, message.default_region) == ("shop", "m1", "SA")
    assert message.occurred_at.ToDatetime(UTC) == NOON
    assert message.event.name == "order_completed"
    assert json.loads(message.event.properties) == {"total": 12.5, "city": "الرياض"}
    assert [(trait.trait, content(trait.value)) for trait in message.traits] == [
        ("city", "Riyadh"),
        ("vip", True),
        ("age", 41.0),
    ]
    assert (message.traits[0].method, message.traits[0].confidence) == (METHOD_DECLARED, 0.5)
    assert [consent.status for consent in message.consents] == [CONSENT_STATUS_GRANTED, CONSENT_STATUS_DENIED]


def test_identifiers_are_normal_and_keyed() -> None:
    """Identifiers leave in their normal form with the workspace's key, so that the next service need not normalise."""
    sent = list(send(fact()).identifiers)
    assert [(item.kind, item.value) for item in sent] == [("email", "ada@example.org"), ("phone", "+966501234567")]
    for item in sent:
        assert item.key == identifier_key(SECRET, item.kind, item.value)
        assert keyed_identifier(item, "", KINDS, SECRET) == KeyedIdentifier(item.kind, item.value, item.key)


def test_protected_values_stay_behind() -> None:
    """Of a passport number only the key leaves, and the key alone is enough to go on with."""
    message = send(fact(identifiers=(Identifier("passport", "ab 123-456"),)))
    [sent] = message.identifiers
    assert b"123" not in message.SerializeToString().replace(sent.key, b"")
    assert sent.key == identifier_key(SECRET, "passport", "AB123456")
    assert keyed_identifier(sent, "", KINDS, SECRET) == KeyedIdentifier("passport", None, sent.key)
    assert identifier_to_proto(keyed_identifier(sent, "", KINDS, SECRET)) == sent


def test_absent_parts_are_absent() -> None:
    """What a message does not state is not made up."""
    message = fact_to_proto(Fact("", (Identifier("user_id", "7"),)), "shop", None, KINDS, SECRET)
    assert not message.HasField("occurred_at")
    assert not message.HasField("event")
    assert (message.message_id, message.default_region, len(message.traits), len(message.consents)) == ("", "", 0, 0)


def test_all_bad_fields_are_named_without_values() -> None:
    """A fact that cannot be taken says everything that is wrong with it, and repeats nothing."""
    bad = fact(
        identifiers=(Identifier("email", "secret"), Identifier("email", "a@b.co"), Identifier("nonsense", "secret")),
        occurred_at=datetime(2026, 1, 1),
        event=Event("x", {"total": math.nan}),
        traits=(Trait("a", math.inf), Trait("b", "fine"), Trait("c", 10**400), Trait("d", datetime(2026, 1, 1))),
    )
    assert violations(bad) == [
        "identifiers[0].value",
        "identifiers[2].value",
        "occurred_at",
        "traits[0].value",
        "traits[2].value",
        "traits[3].value",
        "event.properties",
    ]
    with pytest.raises(InvalidFieldsError) as caught:
        send(bad)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("properties", [{"a": object()}, {"a": {1, 2}}, {(1, 2): "a"}, {"a": float("inf")}])
def test_properties_that_are_no_json_are_refused(properties: dict[Any, Any]) -> None:
    """Properties must be JSON in UTF-8."""
    assert violations(fact(event=Event("x", properties))) == ["event.properties"]


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_names_that_are_no_unicode_are_refused(text: str) -> None:
    """A name with half a character is a bad field, not a crash."""
    bad = fact(message_id=text, traits=(Trait(text, "x"),), consents=(Consent(text, True),), event=Event(text))
    assert violations(bad) == ["message_id", "traits[0].trait", "consents[0].purpose", "event.name"]


def test_texts_cut_in_the_midst_of_a_character_are_mended() -> None:
    """A title whose last emoji was cut in half is taken, with a replacement for the half; two halves are joined."""
    message = send(fact(event=Event("x", {"title": "a\ud83d"}), traits=(Trait("name", "\ud83d\ude00b\ude00"),)))
    assert json.loads(message.event.properties) == {"title": "a\ufffd"}
    assert message.traits[0].value.text == "😀b\ufffd"


def test_same_content_has_same_bytes() -> None:
    """The order in which properties were built does not show."""
    one, two = Event("x", {"a": 1, "b": {"c": 2, "d": 3}}), Event("x", {"b": {"d": 3, "c": 2}, "a": 1})
    assert send(fact(event=one)).SerializeToString() == send(fact(event=two)).SerializeToString()


@pytest.mark.parametrize(
    ("kind", "value", "key"),
    [
        ("email", "ada@example.org", b"x" * 16),
        ("email", "ada@example.org", b"short"),
        ("email", "", b"x" * 16),
        ("passport", "AB1", b"x" * 16),
        ("passport", "", b"short"),
        ("unknown", "a", b""),
        ("unknown", "a", b"x" * 16),
        ("email", "no address", b""),
        ("email", "", b""),
    ],
)
def test_forged_and_malformed_identifiers_are_refused(kind: str, value: str, key: bytes) -> None:
    """A key that is not the value's, and a value without a normal form, get nowhere."""
    with pytest.raises(InvalidIdentifierError) as caught:
        keyed_identifier(IdentifierMessage(kind=kind, value=value, key=key), "", KINDS, SECRET)
    assert "ada" not in str(caught.value)


def test_values_without_key_are_normalised() -> None:
    """What a channel sends without a key is normalised, local phone numbers in the given region."""
    message = IdentifierMessage(kind="phone", value="050 123 4567")
    assert keyed_identifier(message, "SA", KINDS, SECRET).value == "+966501234567"
    with pytest.raises(InvalidIdentifierError):
        keyed_identifier(message, "", KINDS, SECRET)


@given(value=st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.booleans(), st.integers(-(2**53), 2**53),
                       st.floats(allow_nan=False, allow_infinity=False), INSTANTS))  # fmt: skip
def test_values_survive(value: Any) -> None:
    """A trait's value comes back as it was, with its type."""
    back = content(Value.FromString(value_to_proto(value).SerializeToString()))
    assert back == value
    assert isinstance(back, bool) is isinstance(value, bool)


@pytest.mark.parametrize("value", [None, b"bytes", ["list"], {}])
def test_other_values_are_refused(value: Any) -> None:
    """A trait is a text, a number, true or false, or an instant."""
    with pytest.raises(ValueError, match="must be a text"):
        value_to_proto(value)


@given(instant=INSTANTS)
def test_instants_survive_to_the_microsecond(instant: datetime) -> None:
    """Instants come back as they were, whatever their time zone, also before 1970."""
    message = datetime_to_timestamp(instant)
    assert message.ToDatetime(UTC) == instant
    assert micros_to_timestamp(timestamp_to_micros(message)) == message
    assert timestamp_to_micros(message) == datetime_to_micros(instant)
    assert 0 <= message.nanos < 10**9


def test_what_is_finer_than_microseconds_is_cut_off() -> None:
    """Nanoseconds do not round up into the future."""
    assert timestamp_to_micros(Timestamp(seconds=1, nanos=999_999_999)) == 1_999_999
