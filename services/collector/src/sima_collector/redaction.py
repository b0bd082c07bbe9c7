"""Takes values of protected identifiers out of payloads that are kept as refused.

A payload that was refused may not even be JSON, so this works on bytes: wherever the two fields of an identifier stand
beside each other, as in `{"kind": "passport", "value": "..."}`, the value is emptied. Everything else stays as it came.
What a channel calls otherwise is known to its connector only, which keeps it out of its refusals itself.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from sima_collector.facts import Refused

_TEXT = rb'"(?:[^"\\]|\\.)*+"?'


class Redaction:
    """Empties the values of identifiers of some kinds."""

    def __init__(self, kinds: Iterable[str]) -> None:
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
        if any(marker in raw for marker in self._markers):
            for pattern in self._patterns:
                raw = pattern.sub(rb'\1""', raw)
        return replace(refused, raw=raw)
