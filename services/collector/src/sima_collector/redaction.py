"""Takes values of protected identifiers out of payloads that are kept as refused.

Of a source that may send such values, bytes that its connector could not read are not kept at all, for nobody knows
where in them a value stands: their size and a hash take their place. The hash is keyed with the workspace's secret, so
that nobody finds a value by trying them all.

Of any other source the bytes are kept, unless they are many and may name such a kind, for to search them would hold up
other requests. Of what is kept, the value of every object with such a kind, as in
`{"kind": "passport", "value": "..."}`, is emptied: whatever it is, however deep it lies, and whatever else
the object holds. For this the bytes are walked rather than parsed and written anew. So all others stay as they came,
even numbers that a parser rounds; a field that comes twice is emptied twice; and what is cut off, nested deeper than
parsers go, or several texts in a row is no exception. Only a stray quote turns texts into what stands between them;
so where kind and value are neighbours, they are found without the walk, too.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from sima_collector.facts import ConfiguredSource, Refused

#: Of more bytes nothing is kept if they may name a protected kind. To search as many took up to 60 milliseconds.
MOST_SEARCHED = 64 << 10

# Connectors whose senders name the kinds of identifiers themselves.
_OPEN_CONNECTORS = frozenset({"api"})
_TEXT = rb'"(?:[^"\\]++|\\.)*+"?'
_PLAIN = rb"(?:" + _TEXT + rb"|[-+.\w]++)"
_COLON = rb"\s*+:\s*+"
_COMMA = rb"\s*+,\s*+"
# A text, as name of a field with the colon behind it, or whatever else gives JSON its shape.
_TOKEN = re.compile(rb"(" + _TEXT + rb")(" + _COLON + rb")?+|[{}\[\],]", re.DOTALL)


def _text(*names: str) -> bytes:
    """Return the pattern of a JSON text that is one of these names, with or without escapes."""
    letters = (b"".join(b"(?:%b|\\\\u(?i:%04x))" % (re.escape(c).encode(), ord(c)) for c in name) for name in names)
    return b'"(?:' + b"|".join(letters) + b')"'


# An ASCII letter that is written so as not to be found.
_ESCAPED = re.compile(rb"\\u00[4-7]")
_KIND = re.compile(_text("kind"))
_VALUE = re.compile(_text("value"))


@dataclass(slots=True)
class _Object:
    """What is known of an object before its end.

    Attributes:
        protected: Whether it has a protected kind.
        begin: Where the value begins that the walk is in; -1: in none.
        values: Where the values behind it begin and end.
    """

    protected: bool = False
    begin: int = -1
    values: list[tuple[int, int]] = field(default_factory=list)

    def close(self, end: int) -> None:
        """End the value that the walk is in, if it is in one."""
        if self.begin >= 0:
            self.values.append((self.begin, end))
            self.begin = -1


class Redaction:
    """Knows what must not be kept of refused payloads."""

    def __init__(
        self, kinds: Iterable[str], sources: Iterable[ConfiguredSource] = (), secrets: Mapping[str, bytes] | None = None
    ) -> None:
        """Prepare.

        Args:
            kinds: The protected kinds of identifiers.
            sources: The configured sources.
            secrets: The secret of each workspace.
        """
        kinds = tuple(kinds)
        self._names = tuple(kind.encode() for kind in kinds)
        self._closed = {source.name for source in sources if not keeps_rejected(source, kinds)}
        self._secrets = secrets or {}
        names = _text(*sorted(kinds)) if kinds else rb"(?!)"  # which is found nowhere
        kind = _KIND.pattern + _COLON + names
        value = _VALUE.pattern + _COLON
        self._kinds = re.compile(names)
        self._neighbours = (
            re.compile(rb"(" + kind + _COMMA + value + rb")" + _PLAIN, re.DOTALL),
            re.compile(rb"(" + value + rb")" + _PLAIN + rb"(?=" + _COMMA + kind + rb")", re.DOTALL),
        )

    def of(self, refused: Refused) -> Refused:
        """The same refusal without the values."""
        raw = refused.raw
        if not refused.read and (refused.source in self._closed or self._is_too_much(raw)):
            return replace(refused, raw=self._trace(refused))
        if len(raw) <= MOST_SEARCHED and self._kinds.search(raw):
            raw = _emptied(raw, self._values(raw))
            for pattern in self._neighbours:
                raw = pattern.sub(rb'\1""', raw)
        return replace(refused, raw=raw)

    def _is_too_much(self, raw: bytes) -> bool:
        """Whether so many bytes may name a protected kind that searching them for its values would take long."""
        if len(raw) <= MOST_SEARCHED:
            return False
        return any(name in raw for name in self._names) or (bool(self._names) and _ESCAPED.search(raw) is not None)

    def _values(self, raw: bytes) -> Iterator[tuple[int, int]]:
        """Where the values of protected identifiers begin and end; those inside others as well."""
        depth, objects = 0, defaultdict[int, _Object](_Object)  # by their depth; only those with a kind or a value
        for token in _TOKEN.finditer(raw):
            sign = raw[token.start()]
            if token[2]:
                self._enter(objects, depth, token)
            elif sign in b"{[":
                depth += 1
            elif sign in b",}]" and depth in objects:
                objects[depth].close(token.start())
            if sign in b"}]":
                yield from _found(objects.pop(depth, None))
                depth = max(depth - 1, 0)  # of a beginning that is cut off nobody knows how deep it was
        for one in objects.values():
            one.close(len(raw))
            yield from _found(one)

    def _enter(self, objects: defaultdict[int, _Object], depth: int, token: re.Match[bytes]) -> None:
        """Note what the field is that begins here."""
        if _VALUE.fullmatch(token[1]):
            objects[depth].close(token.start())
            objects[depth].begin = token.end()
        elif _KIND.fullmatch(token[1]) and self._kinds.match(token.string, token.end()):
            objects[depth].protected = True

    def _trace(self, refused: Refused) -> bytes:
        key = self._secrets[refused.workspace]
        digest = hashlib.blake2b(refused.raw, key=key, digest_size=16).hexdigest()
        return json.dumps({"not_kept": {"bytes": len(refused.raw), "hash": digest}}).encode()


def _found(one: _Object | None) -> list[tuple[int, int]]:
    return one.values if one is not None and one.protected else []


def _emptied(raw: bytes, values: Iterable[tuple[int, int]]) -> bytes:
    """The same bytes with an empty text in place of each of these values."""
    pieces, done = [], 0
    for begin, end in sorted(values):
        if begin >= done:  # else it is inside the one before
            pieces += [raw[done:begin], b'""']
            done = begin + len(raw[begin:end].rstrip())
    return b"".join((*pieces, raw[done:]))


def keeps_rejected(source: ConfiguredSource, protected: Iterable[str]) -> bool:
    """Whether bytes that a source's connector cannot read are kept.

    As configured; else not if they may hold values of protected kinds: if the connector takes whatever kind its sender
    names, or if an option of the source names such a kind.
    """
    if source.keep_rejected is not None:
        return source.keep_rejected
    options = [text for option in source.source.options.items() for text in option]
    return source.connector not in _OPEN_CONNECTORS and not any(kind in text for kind in protected for text in options)
