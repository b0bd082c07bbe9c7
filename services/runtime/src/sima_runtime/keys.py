"""Keys and ids are 16 bytes in Sima and `uuid` in PostgreSQL; this makes psycopg speak so, without UUIDs between.

On every connection of `Database`, `uuid` is read as `bytes` and `uuid[]` as a list of `bytes`. To send them, wrap:
`Key(b)` for one, `Keys(list)` for an array (one piece of work for the whole array). In COPY plain `bytes` will do.
"""

from uuid import UUID

from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader
from psycopg.pq import Format

KEY_BYTES = 16
_UUID, _UUID_ARRAY, _XID8 = 2950, 2951, 5069
_LENGTH = KEY_BYTES.to_bytes(4)
_ARRAY_START = (1).to_bytes(4) + (0).to_bytes(4) + _UUID.to_bytes(4)  # one dimension, no nulls, of uuid
_ARRAY_HEADER = len(_ARRAY_START) + 8  # count and lower bound follow
_STRIDE = len(_LENGTH) + KEY_BYTES


class Key(bytes):
    """One key as a parameter of a query."""

    __slots__ = ()


class Keys(list[bytes]):
    """An array of keys as a parameter of a query."""

    __slots__ = ()


def register(adapters: AdaptersMap) -> None:
    """Teach a connection to read and write keys as bytes, and transaction ids (`xid8`) as int."""
    adapters.register_dumper(Key, _KeyDumper)
    adapters.register_dumper(Keys, _KeysDumper)
    for loader in (_KeyLoader, _KeyTextLoader):
        adapters.register_loader(_UUID, loader)
    for array_loader in (_KeysLoader, _KeysTextLoader):
        adapters.register_loader(_UUID_ARRAY, array_loader)
    for xid_loader in (_XidLoader, _XidTextLoader):
        adapters.register_loader(_XID8, xid_loader)


class _KeyDumper(Dumper):
    format = Format.BINARY
    oid = _UUID

    def dump(self, obj: bytes | UUID) -> Buffer:
        return obj if isinstance(obj, bytes) else obj.bytes


class _KeysDumper(Dumper):
    format = Format.BINARY
    oid = _UUID_ARRAY

    def dump(self, obj: list[bytes]) -> Buffer:
        if not obj:
            return bytes(8) + _UUID.to_bytes(4)  # no dimension
        return b"".join((_ARRAY_START, len(obj).to_bytes(4), (1).to_bytes(4), _LENGTH, _LENGTH.join(obj)))


class _KeyLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class _KeyTextLoader(Loader):
    format = Format.TEXT

    def load(self, data: Buffer) -> bytes:
        return bytes.fromhex(bytes(data).decode().replace("-", ""))


class _KeysLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> list[bytes]:
        raw = bytes(data)
        if any(raw[4:8]):
            raise ValueError("an array of keys must hold no nulls")
        starts = range(_ARRAY_HEADER + len(_LENGTH), len(raw), _STRIDE)
        return [raw[start : start + KEY_BYTES] for start in starts]


class _KeysTextLoader(Loader):
    format = Format.TEXT

    def load(self, data: Buffer) -> list[bytes]:
        text = bytes(data).decode().strip("{}").replace("-", "")
        return [bytes.fromhex(key) for key in text.split(",") if key]


class _XidLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        return int.from_bytes(data)


class _XidTextLoader(Loader):
    format = Format.TEXT

    def load(self, data: Buffer) -> int:
        return int(bytes(data))
