"""Whether a profile may be used for a purpose, folded from all statements about it. Pure.

Per identifier the latest statement wins, a tie is a denial; over the profile one denial denies. So joining two people's
records can never widen what either of them agreed to.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Statement(NamedTuple):
    """What was said about one purpose for one identifier.

    Attributes:
        key: The identifier's key.
        purpose: The purpose.
        granted: Whether the person agreed.
        source: Who passed it on.
        stated_at: When, in microseconds since 1970.
    """

    key: bytes
    purpose: str
    granted: bool
    source: str
    stated_at: int


def fold_consents(statements: Iterable[Statement]) -> tuple[Statement, ...]:
    """Return the statement that decides each purpose, in the order of their names; unnamed purposes are unknown."""
    latest: dict[tuple[bytes, str], Statement] = {}
    for statement in sorted(statements, key=_precedence):
        latest[statement.key, statement.purpose] = statement
    deciding: dict[str, Statement] = {}
    for statement in sorted(latest.values(), key=_weight):
        deciding[statement.purpose] = statement
    return tuple(deciding[purpose] for purpose in sorted(deciding))


def _precedence(statement: Statement) -> tuple[int, bool, str]:
    return statement.stated_at, not statement.granted, statement.source


def _weight(statement: Statement) -> tuple[bool, int, str, bytes]:
    return not statement.granted, statement.stated_at, statement.source, statement.key
