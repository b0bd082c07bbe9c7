"""Takes values of protected identifiers out of payloads that are kept as refused.

Of a source that may send such values, bytes that its connector could not read are not kept at all, for nobody knows
where in them a value stands: their size and a hash take their place. The hash is keyed with the workspace's secret, so
that nobody finds a value by trying them all.

Of any other source the bytes are kept, and wherever the two fields of an identifier stand beside each other, as in
`{"kind": "passport", "value": "..."}`, the value is emptied all the same.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sima_collector.facts import ConfiguredSource, Refused

# Connectors whose senders name the kinds of identifiers themselves.
_OPEN_CONNECTORS = frozenset({"api"})
_TEXT = rb'"(?:[^"\\]|\\.)*+"?'


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
        self._closed = {source.name for source in sources if not keeps_rejected(source, kinds)}
        self._secrets = secrets or {}
        names = b"|".join(re.escape(kind).encode() for kind in sorted(kinds))
        kind = rb'"kind"\s*+:\s*+"(?:' + names + rb')"'
        value = rb'"value"\s*+:\s*+'
        self._patterns = (
            re.compile(rb"(" + kind + rb"\s*+,\s*+" + value + rb")" + _TEXT, re.DOTALL),
            re.compile(rb"(" + value + rb")" + _TEXT + rb"(?=\s*+,\s*+" + kind + rb")", re.DOTALL),
        )
        self._markers = [b'"%b"' % kind.encode() for kind in kinds]

    def of(self, refused: Refused) -> Refused:
        """The same refusal without the values."""
        raw = refused.raw
        if refused.source in self._closed and not refused.read:
            return replace(refused, raw=self._trace(refused))
        if any(marker in raw for marker in self._markers):
            for pattern in self._patterns:
                raw = pattern.sub(rb'\1""', raw)
        return replace(refused, raw=raw)

    def _trace(self, refused: Refused) -> bytes:
        key = self._secrets[refused.workspace]
        digest = hashlib.blake2b(refused.raw, key=key, digest_size=16).hexdigest()
        return json.dumps({"not_kept": {"bytes": len(refused.raw), "hash": digest}}).encode()


def keeps_rejected(source: ConfiguredSource, protected: Iterable[str]) -> bool:
    """Whether bytes that a source's connector cannot read are kept.

    As configured; else not if they may hold values of protected kinds: if the connector takes whatever kind its sender
    names, or if an option of the source names such a kind.
    """
    if source.keep_rejected is not None:
        return source.keep_rejected
    options = [text for option in source.source.options.items() for text in option]
    return source.connector not in _OPEN_CONNECTORS and not any(kind in text for kind in protected for text in options)
