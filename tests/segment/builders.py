"""What arrives, as tests write it: facts as channels send them, and pages of the two feeds."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import pyarrow as pa
from sima.type.v1.fact_pb2 import CONSENT_STATUS_DENIED, CONSENT_STATUS_GRANTED, Fact
from sima_segment.projection import ChangePage, FactPage
from sima_segment.projection.pages import CHANGES, CONSENTS, EVENTS, OBSERVATIONS, RETRACTIONS

START = datetime(2026, 1, 10, tzinfo=UTC)


def fact(
    message_id: str,
    *identifiers: tuple[str, str],
    at: datetime = START,
    event: str = "",
    properties: Mapping[str, Any] | None = None,
    traits: Mapping[str, Any] | None = None,
    consents: Mapping[str, bool] | None = None,
    source: str = "shop",
) -> Fact:
    """A fact as a channel sends it."""
    message = Fact(source=source, message_id=message_id)
    for kind, value in identifiers:
        message.identifiers.add(kind=kind, value=value)
    message.occurred_at.FromDatetime(at)
    if event:
        message.event.name = event
        message.event.properties = orjson.dumps(properties or {})
    for name, value in (traits or {}).items():
        observation = message.traits.add(trait=name)
        match value:
            case bool():
                observation.value.boolean = value
            case str():
                observation.value.text = value
            case _:
                observation.value.number = value
    for purpose, granted in (consents or {}).items():
        message.consents.add(purpose=purpose, status=CONSENT_STATUS_GRANTED if granted else CONSENT_STATUS_DENIED)
    return message


def user(name: str) -> tuple[str, str]:
    """A user id."""
    return "user_id", name


def mail(name: str) -> tuple[str, str]:
    """An e-mail address."""
    return "email", f"{name}@mail.example.com"


def device(name: str) -> tuple[str, str]:
    """A device id."""
    return "device_id", name


class Moved(NamedTuple):
    """A row of the identity feed; keys and profiles are small numbers, profile 0 is none, as companies have it."""

    key: int
    profile: int
    shared: bool = False
    blocked: bool = False
    account: bool = False


class Happened(NamedTuple):
    """An event of the fact feed; `number` makes its id."""

    number: int
    keys: tuple[int, ...]
    name: str = "order"
    properties: Mapping[str, Any] | bytes = {}
    at: datetime = START


class Observed(NamedTuple):
    """An observation of the fact feed."""

    number: int
    keys: tuple[int, ...]
    trait: str
    value: Any
    at: datetime = START
    source: str = "shop"
    method: str = "observed"
    confidence: float = 1.0


class Stated(NamedTuple):
    """A statement of the fact feed."""

    number: int
    keys: tuple[int, ...]
    purpose: str
    granted: bool
    at: datetime = START


class Withdrawn(NamedTuple):
    """A retraction of the fact feed."""

    number: int


Row = Happened | Observed | Stated | Withdrawn


def key(number: int) -> bytes:
    """The key or id of a number."""
    return UUID(int=number).bytes


def change_page(*moved: Moved, cursor: str = "c") -> ChangePage:
    """A page of the identity feed."""
    rows = [
        {
            "key": key(each.key),
            "profile": key(each.profile).hex() if each.profile else "",
            "shared": each.shared,
            "blocked": each.blocked,
            "account": each.account,
        }
        for each in moved
    ]
    return ChangePage(pa.Table.from_pylist(rows, CHANGES), cursor)


def fact_page(*rows: Row, cursor: str = "f") -> FactPage:
    """A page of the fact feed."""
    found: dict[type[Row], list[dict[str, Any]]] = {Happened: [], Observed: [], Stated: [], Withdrawn: []}
    for row in rows:
        found[type(row)].append(_columns(row))
    return FactPage(
        events=pa.Table.from_pylist(found[Happened], EVENTS),
        observations=pa.Table.from_pylist(found[Observed], OBSERVATIONS),
        consents=pa.Table.from_pylist(found[Stated], CONSENTS),
        retractions=pa.Table.from_pylist(found[Withdrawn], RETRACTIONS),
        cursor=cursor,
    )


def _columns(row: Row) -> dict[str, Any]:
    columns = row._asdict()
    columns["id"] = key(row.number)
    columns["keys"] = [key(number) for number in columns.get("keys", ())]
    match row:
        case Happened(properties=properties, at=at):
            raw = properties if isinstance(properties, bytes) else orjson.dumps(properties)
            columns |= {"occurred_at": at, "properties": raw}
        case Observed(value=value, at=at):
            columns |= {"observed_at": at, "type": type_of(value), "value": json_of(value)}
        case Stated(at=at):
            columns |= {"stated_at": at}
        case Withdrawn():
            columns |= {"relation": "events"}
    return columns


def type_of(value: Any) -> str:
    """The type of a trait's value, as the feed names it."""
    return {bool: "boolean", str: "text", datetime: "time"}.get(type(value), "number")


def json_of(value: Any) -> str:
    """A trait's value as the feed writes it."""
    if isinstance(value, datetime):
        return f'"{value.replace(tzinfo=None).isoformat(timespec="microseconds")}Z"'
    return orjson.dumps(value).decode()
