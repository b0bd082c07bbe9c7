"""Values of protected identifiers in payloads that are kept as refused."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sima_collector.facts import ConfiguredSource, Refused
from sima_collector.redaction import MOST_SEARCHED, Redaction, keeps_rejected
from sima_sdk.connectors import Source

REDACTION = Redaction(["passport", "national_id"], secrets={"main": b"secret"})


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


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"kind":"national_id","value":1234567890}', b'{"kind":"national_id","value":""}'),
        (b'{"kind":"national_id","value":["1234567890"] }', b'{"kind":"national_id","value":"" }'),
        (b'{"value":{"kind":"passport","value":"K1"},"kind":"passport"}', b'{"value":"","kind":"passport"}'),
        (b'{"kind":"passport","source":"x","value":"K1"}', b'{"kind":"passport","source":"x","value":""}'),
        (b'{"kind":"national\\u005Fid","value":"12"}', b'{"kind":"national\\u005Fid","value":""}'),
        (b'{"\\u006bind":"passport","v\\u0061lue":"K1"}', b'{"\\u006bind":"passport","v\\u0061lue":""}'),
        (b'{"kind":"passport","value":"K1","n":0,"value":""}', b'{"kind":"passport","value":"","n":0,"value":""}'),
        (
            b'{"ids":[{"kind":"passport","n":0,"value":1}],"ids":[]}',
            b'{"ids":[{"kind":"passport","n":0,"value":""}],"ids":[]}',
        ),
        (
            b'{"id":98765432109876543210,"of":{"kind":"passport","n":1.10,"value":7}}',
            b'{"id":98765432109876543210,"of":{"kind":"passport","n":1.10,"value":""}}',
        ),
    ],
)
def test_a_value_is_emptied_whatever_it_is_and_wherever_it_stands(raw: bytes, expected: bytes) -> None:
    """Numbers, lists, fields between, escapes and fields that come twice: what gets one refused hides nothing."""
    assert kept(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"kind":"passport","n":0,"value":["K1","K', b'{"kind":"passport","n":0,"value":""'),
        (b'{"kind":"passport","n":0,"value":"K1\\', b'{"kind":"passport","n":0,"value":""'),
        (b'{"value":17,"n":0,"kind":"passport"', b'{"value":"","n":0,"kind":"passport"'),
        (b'"value":"K1","n":0,"kind":"passport"},{"value":1}', b'"value":"","n":0,"kind":"passport"},{"value":1}'),
        (
            b'{"kind":"email","n":0,"value":1}\n{"kind":"passport","n":0,"value":1}\n',
            b'{"kind":"email","n":0,"value":1}\n{"kind":"passport","n":0,"value":""}\n',
        ),
        (b'page=1&of={"kind":"passport","n":0,"value":1}', b'page=1&of={"kind":"passport","n":0,"value":""}'),
        (b'5" {"kind":"passport","value":"K1"}', b'5" {"kind":"passport","value":""}'),
        (b'5" {"kind":"passport","value":-1.5e3}', b'5" {"kind":"passport","value":""}'),
        (b'5" {"value":17, "kind":"p\\u0061ssport"}', b'5" {"value":"", "kind":"p\\u0061ssport"}'),
    ],
)
def test_what_is_not_one_whole_json_text_is_searched_as_well(raw: bytes, expected: bytes) -> None:
    """Cut off at either end, several texts in lines, in a form; behind a stray quote at least neighbours are found."""
    assert kept(raw) == expected


@pytest.mark.parametrize("raw", [b'{"kind":"Passport","value":1}', b'{"kind":" passport","value":1}'])
def test_kinds_are_known_by_their_exact_names(raw: bytes) -> None:
    """As everywhere else: another spelling is an unknown kind."""
    assert kept(raw) == raw


def test_without_protected_kinds_everything_stays() -> None:
    """There is nothing to look for, not even in empty texts."""
    raw = b'{"kind":"","value":"K1"}'
    assert Redaction([]).of(Refused("main", "web", "no", raw)).raw == raw


@pytest.mark.parametrize("around", [(b"[", b"]"), (b'{"a":', b"}"), (b'{"value":', b"}")])
def test_no_depth_hides_a_value(around: tuple[bytes, bytes]) -> None:
    """Deeper than any parser goes."""
    before, after = (piece * 4_000 for piece in around)
    raw = before + b'{"kind":"passport","n":0,"value":%s}' + after
    assert kept(raw % b'"K1"') == raw % b'""'


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS = st.sampled_from(["kind", "value", "identifiers"]) | st.text()
SECRET = st.sampled_from(["K7351902846", 7351902846, -7351902846.25, '"K7351902846\\', "ك7351902846"])


def jsons(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Anything that JSON can hold, with these leaves."""
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
    )


@st.composite
def identifiers(draw: st.DrawFn) -> dict[str, Any]:
    """An identifier of a protected kind with a distinctive value, among other fields in any order."""
    value = draw(SECRET | st.lists(SECRET, min_size=1) | st.dictionaries(st.text(), SECRET, min_size=1))
    fields = {"kind": draw(st.sampled_from(["passport", "national_id"])), "value": value}
    more = draw(st.dictionaries(KEYS.filter(lambda key: key not in fields), SCALARS, max_size=3))
    return dict(draw(st.permutations([*(more | fields).items()])))


@given(
    inside=identifiers(), around=st.lists(st.tuples(KEYS, jsons(SCALARS), st.booleans()), max_size=6), data=st.data()
)
def test_no_value_of_any_type_survives_anywhere(
    inside: dict[str, Any], around: list[tuple[str, Any, bool]], data: st.DataObject
) -> None:
    """However deep it lies and whatever is beside it; what is kept is still JSON."""
    payload: Any = inside
    for key, beside, listed in around:
        payload = [beside, payload] if listed else {"beside": beside, key: payload}
    raw = json.dumps(payload, indent=data.draw(st.sampled_from([None, 2])), ensure_ascii=data.draw(st.booleans()))
    emptied = kept(raw.encode())
    json.loads(emptied)
    assert b"7351902846" not in emptied
    assert kept(emptied) == emptied


@given(payload=jsons(SCALARS | st.sampled_from(["email", "passports", "Passport"])), indent=st.sampled_from([None, 2]))
def test_without_a_protected_kind_not_a_byte_changes(payload: object, indent: int | None) -> None:
    """Not even in how it is written."""
    raw = json.dumps(payload, indent=indent).encode()
    assert kept(raw) == raw


@given(raw=st.lists(st.sampled_from([*'{}[],:"\\ 1', '"kind"', '"value"', '"passport"', '"K1"'])).map("".join))
def test_no_bytes_are_a_surprise(raw: str) -> None:
    """Whatever is half JSON is searched without an error, and has no whole identifier left."""
    assert not re.search(rb'"kind":"passport","value":"K1"|"value":"K1","kind":"passport"', kept(raw.encode()))


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


def test_signs_in_a_row_end_what_each_of_them_ends() -> None:
    """Objects that end together are told apart, also those behind the end of what is cut off."""
    one, other = b'{"kind":"passport","b":{"value":1,"kind":"passport"}}', b'{"value":[[2],{"c":{}}],"kind":"passport"}'
    raw = b'}]}{"a":[' + one + b",[{}]," + other + b"]}"
    assert kept(raw) == raw.replace(b"1", b'""').replace(b'[[2],{"c":{}}]', b'""')


HOSTILE = (
    b'{"kind":"passport","value":',
    b'[{"value":123,"kind":"passport"',
    b'"value":123,"kind":"passport",',
    b'{"kind":"passport"}]   ',
    b'"value":"',
    b'"kind":"passport","value":"\\',
    b'"kind":"passport"   ,  ',
    b'"value":"\\"',
    b'{"kind":"passport","value":123}' + b"," * 80,
    b'"kind":"passport","value":[[123],[{}]]}},',
    b'"passport"[]{}',
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_payload_is_searched_once_and_no_more(piece: bytes) -> None:
    """As much as is searched of quotes and half-written identifiers comes to an end, and never grows."""
    raw = piece * (MOST_SEARCHED // len(piece))
    assert len(kept(raw)) <= len(raw)


@pytest.mark.parametrize("mark", [b'"passport"', b'"n\\u0061tional_id"', b"national_id", b'"\\u005fx"'])
def test_of_megabytes_that_may_name_a_protected_kind_only_a_trace_stays(mark: bytes) -> None:
    """To search them would hold up other requests."""
    raw = b"[]" * MOST_SEARCHED + mark
    assert json.loads(kept(raw))["not_kept"]["bytes"] == len(raw)


@pytest.mark.parametrize("mark", [b'"email"', '"é"'.encode(), b'"\\u00e9"'])
def test_other_megabytes_are_kept_as_they_came(mark: bytes) -> None:
    """What names no protected kind holds no protected value."""
    raw = b"[]" * MOST_SEARCHED + mark
    assert kept(raw) == raw


def test_a_large_fact_that_was_read_is_kept() -> None:
    """Its protected values were taken out when it was read, however large it is."""
    raw = b'{"kind": "passport"}' * MOST_SEARCHED
    assert REDACTION.of(Refused("main", "web", "no", raw, "m1", read=True)).raw == raw
