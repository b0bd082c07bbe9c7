"""How the collector and its worker processes talk: frames of one JSON head and any number of blobs.

Neither side unpickles anything: a worker runs code of plugins, and what it says is data only.
"""

import asyncio
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

#: Sent by a worker before a connector sees a request.
BEGUN = b"\x01"
_LENGTH = struct.Struct("!I")


class Stream(Protocol):
    """A blocking stream in both directions."""

    def read(self, size: int, /) -> bytes:
        """Read exactly `size` bytes, fewer only at the end of the stream."""

    def write(self, data: bytes, /) -> int:
        """Write all of `data`."""

    def flush(self) -> None:
        """Send what was written."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    head: Mapping[str, Any] = field(default_factory=dict)
    blobs: tuple[bytes, ...] = ()


def encode(frame: Frame) -> bytes:
    """The bytes of a frame as they travel."""
    head = json.dumps({"head": frame.head, "sizes": [len(blob) for blob in frame.blobs]}).encode()
    return b"".join((_LENGTH.pack(len(head)), head, *frame.blobs))


def read_frame(stream: Stream) -> Frame:
    """Read a frame from a blocking stream.

    Raises:
        EOFError: The other side is gone.
    """
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    head = json.loads(_read(stream, length))
    return Frame(head["head"], tuple(_read(stream, size) for size in head["sizes"]))


async def receive_frame(reader: asyncio.StreamReader) -> Frame:
    """Read a frame from an asyncio stream.

    Raises:
        EOFError: The other side is gone.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    head = json.loads(await reader.readexactly(length))
    return Frame(head["head"], tuple([await reader.readexactly(size) for size in head["sizes"]]))


async def receive_sign(reader: asyncio.StreamReader) -> bool:
    """Wait for `BEGUN`.

    Raises:
        EOFError: The other side is gone.
        ValueError: It sent something else.
    """
    if await reader.readexactly(len(BEGUN)) != BEGUN:
        raise ValueError("expected the sign that a payload is begun")
    return True


def _read(stream: Stream, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data
