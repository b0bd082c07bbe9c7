"""Values of protected identifiers in payloads that are kept as refused."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sima_collector.facts import ConfiguredSource, Refused
from sima_collector.redaction import Redaction, keeps_rejected
from sima_sdk.connectors import Source

REDACTION = Redaction(["passport", "national_id"])


def kept(raw: bytes) -> bytes:
    """What is kept of a payload."""
    return REDACTION.of(Refused("main", "web", "no", raw)).raw


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"kind": "passport", "value": "K1234567"}', b'{"kind": "passport", "value": ""}'),
        (b'{"value" :"K1234567", "kind":"national_id"}', b'{"value" :"", "kind":"national_id"}'),
        (b'[{"kind":"passport","value":"a\\"b"},{"kind":"email"', b'[{"kind":"passport","value":""},{"kind":"email"'),
        (b'{"kind": "passport", "value": "K123', b'{"kind": "passport", "value": ""'),
        (b'{"kind": "email", "value": "ada@example.com"}', b'{"kind": "email", "value": "ada@example.com"}'),
    ],
)
def test_only_values_of_protected_identifiers_are_emptied(raw: bytes, expected: bytes) -> None:
    """In either order of the two fields, also in what is cut off; all other bytes stay as they came."""
    assert kept(raw) == expected


@given(value=st.text(), other=st.text(), indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_no_value_survives_however_it_is_written(value: str, other: str, indent: int | None, ascii_only: bool) -> None:
    """What is kept is the same JSON with an empty value."""
    identifiers = [{"kind": "passport", "value": value}, {"value": value, "kind": "national_id"}]
    payload = {"identifiers": [*identifiers, {"kind": "email", "value": other}], "note": other}
    raw = json.dumps(payload, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "backslashreplace")
    emptied = json.loads(kept(raw))
    assert [one["value"] for one in emptied["identifiers"]] == ["", "", json.loads(raw)["note"]]


def source(connector: str, keep: bool | None = None, options: Mapping[str, str] | None = None) -> ConfiguredSource:
    """A configured source."""
    return ConfiguredSource("main", connector, Source("web", options=options or {}), keep)


@pytest.mark.parametrize(
    ("configured", "keeps"),
    [
        (source("lines"), True),
        (source("lines", keep=False), False),
        (source("api"), False),
        (source("api", keep=True), True),
        (source("contacts", options={"identifier.passport": "Passport No"}), False),
        (source("contacts", options={"identifier.email": "E-mail"}), True),
    ],
)
def test_what_cannot_be_read_is_kept_unless_it_may_hold_protected_values(
    configured: ConfiguredSource, keeps: bool
) -> None:
    """The administrator decides; by default a source that can name any kind, or names a protected one, does not."""
    assert keeps_rejected(configured, ["passport", "national_id"]) is keeps


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff passport K1234567",
        b'{"kind": "passport", "country": "SA", "value": "K1234567"}',
        b'{"kind": "\\u0070assport", "value": "K1234567"}',
        b'{"passport": "K1234567"',
    ],
)
def test_of_a_source_that_keeps_nothing_only_a_trace_stays(raw: bytes) -> None:
    """Size and a keyed hash: the same bytes leave the same trace, and nobody finds the value by trying them all."""
    redaction = Redaction(["passport"], [source("api")], {"main": b"secret"})
    refused = Refused("main", "web", "expected JSON", raw)
    trace = json.loads(redaction.of(refused).raw)["not_kept"]
    assert trace["bytes"] == len(raw)
    assert json.loads(redaction.of(refused).raw)["not_kept"] == trace
    elsewhere = Redaction(["passport"], [source("api")], {"main": b"other"})
    assert json.loads(elsewhere.of(refused).raw)["not_kept"]["hash"] != trace["hash"]


def test_a_fact_that_was_read_is_kept_of_any_source() -> None:
    """Its protected values were taken out when it was read."""
    redaction = Redaction(["passport"], [source("api")], {"main": b"secret"})
    assert redaction.of(Refused("main", "web", "no", b"{}", "m1", read=True)).raw == b"{}"


def test_a_hostile_payload_is_searched_once_and_no_more() -> None:
    """Megabytes of quotes and half-written identifiers come to an end, and never grow."""
    for piece in (b'"value":"', b'"kind":"passport","value":"\\', b'"kind":"passport"   ,  ', b'"value":"\\"'):
        assert len(kept(piece * 200_000)) <= len(piece * 200_000)
