"""The rules of identity as people write them in `sima.yaml`, and as messages of the contract.

The section looks like this, and everything in it may be left out::

    identity:
      most_identifiers: 500
      known_junk: true
      kinds:
        phone: {strong: true, priority: 50, most_per_profile: 10, most_per_period: 3, period: 24h, shared_above: 5}
      blocked:
        patterns:
          email: ["till-[0-9]+@shop[.]example"]
        values:
          - email:kiosk@shop.example
          - {kind: passport, key: 0b5e…}   # the key that Sima shows, where the kind is protected

`period` is a number with s, m, h, d or w behind it.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, NamedTuple

import yaml
from google.protobuf.duration_pb2 import Duration
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, field_validator
from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}  # seconds
_PERIOD = re.compile("([0-9]{1,9})([wdhms])")
_KEY = re.compile("[0-9a-f]{32}")
_PERIOD_EXPECTED = "expected a number with s, m, h, d or w behind it, for example 24h"
_VALUE_EXPECTED = "expected KIND:VALUE, for example email:kiosk@shop.example, or a mapping of kind and key"


class BlockedValue(NamedTuple):
    """An identifier that names nobody: by its value, or by its key (16 bytes) where nobody keeps the value."""

    kind: str
    value: str
    key: bytes = b""


def _period(text: object) -> timedelta:
    written = _PERIOD.fullmatch(text) if isinstance(text, str) else None
    if written is None:
        raise ValueError(_PERIOD_EXPECTED)
    return timedelta(seconds=int(written[1]) * _UNITS[written[2]])


def _period_text(period: timedelta) -> str:
    seconds = int(period.total_seconds())
    unit = next(unit for unit in "dhms" if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def _value(written: object) -> BlockedValue:
    if isinstance(written, str):
        kind, _, value = written.partition(":")
        if kind and value and _is_text(written):
            return BlockedValue(kind, value)
    if isinstance(written, dict) and written.keys() == {"kind", "key"}:
        kind, key = written["kind"], written["key"]
        if isinstance(kind, str) and isinstance(key, str) and kind and _KEY.fullmatch(key):
            return BlockedValue(kind, "", bytes.fromhex(key))
    raise ValueError(_VALUE_EXPECTED)


def _is_text(written: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in written)  # halves of a sign, which YAML can escape


def _value_text(blocked: BlockedValue) -> str | dict[str, str]:
    return {"kind": blocked.kind, "key": blocked.key.hex()} if blocked.key else f"{blocked.kind}:{blocked.value}"


# What a message has room for; what makes sense is for the service to say.
_Number = Annotated[int, Field(ge=-(2**31), lt=2**31)]
_Period = Annotated[timedelta, PlainValidator(_period), PlainSerializer(_period_text)]
_Value = Annotated[BlockedValue, PlainValidator(_value), PlainSerializer(_value_text)]


class Strict(BaseModel):
    """A part of a file: nothing unknown in it, nothing that is left empty, and no value of it in an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _said(cls, value: object) -> object:
        if value is None:  # half a line: who wrote the key meant something
            raise ValueError("expected a value behind the colon, or no such key")
        return value


class KindRules(Strict):
    """What is said about a kind; see `KindRules` of the contract."""

    strong: bool | None = None
    priority: _Number | None = None
    most_per_profile: _Number | None = None
    most_per_period: _Number | None = None
    period: _Period | None = None
    shared_above: _Number | None = None


class Blocked(Strict):
    """What names nobody."""

    patterns: Mapping[str, list[str]] = {}
    values: list[_Value] = []


class IdentityRules(Strict):
    """All rules of a workspace; None: as the installation says."""

    most_identifiers: _Number | None = None
    known_junk: bool | None = None
    kinds: Mapping[str, KindRules] = {}
    blocked: Blocked = Blocked()

    def as_data(self) -> dict[str, Any]:
        """Return what would be written in a file, without what is not said."""
        return self.model_dump(exclude_defaults=True)


def as_yaml(rules: IdentityRules) -> str:
    """Return a file that says the rules."""
    data = {"identity": rules.as_data()}
    return yaml.dump(data, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    """Escapes what is no printable sign: PyYAML would write some line breaks so that it reads others."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_str)


def to_message(rules: IdentityRules) -> pb.IdentityPolicy:
    """Return the rules as the service takes them."""
    patterns = ((kind, pattern) for kind, texts in rules.blocked.patterns.items() for pattern in texts)
    return pb.IdentityPolicy(
        kinds=[_kind_message(kind, said) for kind, said in rules.kinds.items()],
        blocked_patterns=[pb.BlockedPattern(kind=kind, pattern=pattern) for kind, pattern in patterns],
        blocked_values=[Identifier(kind=kind, value=value, key=key) for kind, value, key in rules.blocked.values],
        known_junk=rules.known_junk,
        most_identifiers=rules.most_identifiers,
    )


def _kind_message(kind: str, said: KindRules) -> pb.KindRules:
    numbers = said.model_dump(exclude={"period"}, exclude_none=True)
    period = None if said.period is None else Duration(seconds=int(said.period.total_seconds()))
    return pb.KindRules(kind=kind, period=period, **numbers)


def from_message(policy: pb.IdentityPolicy) -> IdentityRules:
    """Return the rules that a message says."""
    patterns: dict[str, list[str]] = {}
    for blocked in policy.blocked_patterns:
        patterns.setdefault(blocked.kind, []).append(blocked.pattern)
    data = {
        **_said(policy, "most_identifiers", "known_junk"),
        "kinds": {said.kind: _kind_data(said) for said in policy.kinds},
        "blocked": {"patterns": patterns, "values": [_blocked_data(one) for one in policy.blocked_values]},
    }
    return IdentityRules.model_validate(data)


def _kind_data(said: pb.KindRules) -> dict[str, Any]:
    data = _said(said, *(KindRules.model_fields.keys() - {"period"}))
    return {**data, "period": _period_text(said.period.ToTimedelta())} if said.HasField("period") else data


def _blocked_data(one: Identifier) -> str | dict[str, str]:
    return _value_text(BlockedValue(one.kind, one.value, b"" if one.value else one.key))


def _said(message: pb.IdentityPolicy | pb.KindRules, *fields: str) -> dict[str, Any]:
    return {field: getattr(message, field) for field in fields if message.HasField(field)}  # type: ignore[arg-type]  # literals


_KIND_FIELD = re.compile(r"policy\.kinds\[(\d+)\](?:\.kind$)?(.*)")
_PATTERN_FIELD = re.compile(r"policy\.blocked_patterns\[(\d+)\](.*)")
_VALUE_FIELD = re.compile(r"policy\.blocked_values(\[\d+\])?.*")


def place_in_file(field: str, rules: IdentityRules) -> str:
    """Return where in the file a field of a request for `to_message(rules)` comes from; of others, the field."""
    if found := _KIND_FIELD.fullmatch(field):
        return f"identity.kinds.{list(rules.kinds)[int(found[1])]}{found[2]}"
    if found := _PATTERN_FIELD.fullmatch(field):
        kind, place = _pattern_places(rules)[int(found[1])]
        return f"identity.blocked.patterns.{kind}" + ("" if found[2] == ".kind" else f"[{place}]")
    if found := _VALUE_FIELD.fullmatch(field):
        return f"identity.blocked.values{found[1] or ''}"
    return re.sub("^policy", "identity", field.replace("policy.blocked_patterns", "policy.blocked.patterns"))


def _pattern_places(rules: IdentityRules) -> list[tuple[str, int]]:
    return [(kind, place) for kind, texts in rules.blocked.patterns.items() for place in range(len(texts))]
