"""Values of traits: from the wire to JSON text and back, and instants to microseconds."""

from datetime import datetime, timedelta
from math import isfinite

import orjson
from google.protobuf import timestamp_pb2
from sima.type.v1 import value_pb2
from sima_runtime.wire import datetime_to_timestamp, timestamp_to_micros

#: Longest text of a trait, in characters.
MAX_TEXT = 65_536

_EPOCH = datetime(1970, 1, 1)  # written as UTC below
_EARLIEST, _END = -62_135_596_800_000_000, 253_402_300_800_000_000  # of the years 1 and 10,000


def is_instant(microseconds: int) -> bool:
    """Whether it is an instant of the years 1 to 9999."""
    return _EARLIEST <= microseconds < _END


def to_microseconds(timestamp: timestamp_pb2.Timestamp) -> int:
    """Return an instant in microseconds since 1970; finer digits are cut off.

    Raises:
        ValueError: It is no instant of the years 1 to 9999, or its nanos are no fraction of a second.
    """
    if not (is_instant(timestamp.seconds * 1_000_000) and 0 <= timestamp.nanos < 1_000_000_000):
        raise ValueError("expected an instant of the years 1 to 9999, with 0 to 999999999 nanos")
    return timestamp_to_micros(timestamp)


def to_json(value: value_pb2.Value) -> tuple[str, str]:
    """Return the type of a value (text, number, boolean, time) and the value as JSON text, one text per value.

    Raises:
        ValueError: The value is missing or out of bounds; the text says what was expected.
    """
    kind = value.WhichOneof("kind")
    match kind:
        case "text":
            return kind, _text(value.text)
        case "number":
            return kind, _number(value.number)
        case "boolean":
            return kind, "true" if value.boolean else "false"
        case "time":
            instant = _EPOCH + timedelta(microseconds=to_microseconds(value.time))
            return kind, f'"{instant.isoformat(timespec="microseconds")}Z"'
    raise ValueError("required")


def fill_from_json(message: value_pb2.Value, kind: str, text: str) -> None:
    """Set an empty message to the value that `to_json` wrote."""
    plain = orjson.loads(text)
    match kind:
        case "text":
            message.text = plain
        case "number":
            message.number = plain
        case "boolean":
            message.boolean = plain
        case "time":
            message.time.CopyFrom(datetime_to_timestamp(datetime.fromisoformat(plain)))


def _text(text: str) -> str:
    if len(text) > MAX_TEXT or "\0" in text:
        raise ValueError(f"expected a text of at most {MAX_TEXT} characters without NUL")
    return orjson.dumps(text).decode()


def _number(number: float) -> str:
    if not isfinite(number):
        raise ValueError("expected a finite number")
    return orjson.dumps(number + 0.0).decode()  # adding zero turns -0.0 into 0.0
