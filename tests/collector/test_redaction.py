"""Values of protected identifiers in payloads that are kept as refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sima_collector.facts import Refused
from sima_collector.redaction import Redaction

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
        (b"\x00\xff passport K1234567", b"\x00\xff passport K1234567"),
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


def test_a_hostile_payload_is_searched_once_and_no_more() -> None:
    """Megabytes of quotes and half-written identifiers come to an end, and never grow."""
    for piece in (b'"value":"', b'"kind":"passport","value":"\\', b'"kind":"passport"   ,  ', b'"value":"\\"'):
        assert len(kept(piece * 200_000)) <= len(piece * 200_000)
