"""The scores, as text of the rule language.

Each goes from 5, the best, down to 1; somebody who bought nothing within the horizon has 0. The steps are parts of
what the caller says is best, never parts of the population: so nobody's score changes because somebody else bought.
"""

import json
import re
from collections.abc import Iterable
from math import ceil, isfinite
from typing import Final

from sima_sdk import SegmentFunction

EVENT: Final = "order_completed"
AMOUNT: Final = "total"
HORIZON: Final = "365d"
BEST_COUNT: Final = 10
BEST_AMOUNT: Final = 1000

_RECENCY_PARTS: Final = ((5, 12), (4, 6), (3, 4), (2, 2), (1, 1))
_FREQUENCY_SHARES: Final = ((5, 1.0), (4, 0.6), (3, 0.4), (2, 0.2))
_MONETARY_SHARES: Final = ((5, 1.0), (4, 0.5), (3, 0.25), (2, 0.1))
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)


def recency(event: str = EVENT, horizon: str = HORIZON) -> str:
    """Score how lately somebody bought: 5 within a twelfth of the horizon, then a sixth, a quarter, half, all of it.

    Args:
        event: The event that is a purchase.
        horizon: How far back to look, such as `365d`; at least twelve seconds.

    Raises:
        ValueError: An argument makes no sense.
    """
    seconds = _seconds(horizon)
    steps = ((score, f"{_events(event, f'{seconds // part}s')}.exists()") for score, part in _RECENCY_PARTS)
    return _ladder(steps)


def frequency(event: str = EVENT, horizon: str = HORIZON, best: float = BEST_COUNT) -> str:
    """Score how often somebody bought: 5 from `best` purchases on, then 60, 40 and 20 percent of it; 1 for any.

    Args:
        event: The event that is a purchase.
        horizon: How far back to look, such as `365d`.
        best: How many purchases are best; above zero.

    Raises:
        ValueError: An argument makes no sense.
    """
    count = f"{_events(event, horizon)}.count()"
    needed = ((score, ceil(share * _positive(best, "best"))) for score, share in _FREQUENCY_SHARES)
    return _ladder([*((score, f"{count} >= {number}") for score, number in needed), (1, f"{count} >= 1")])


def monetary(event: str = EVENT, amount: str = AMOUNT, horizon: str = HORIZON, best: float = BEST_AMOUNT) -> str:
    """Score how much somebody spent: 5 from `best` on, then half, a quarter and a tenth of it; 1 for anything.

    Args:
        event: The event that is a purchase.
        amount: The property that says how much was paid.
        horizon: How far back to look, such as `365d`.
        best: Which sum is best, in the currency of the property; above zero.

    Raises:
        ValueError: An argument makes no sense.
    """
    total = f"{_events(event, horizon)}.sum({_text(amount, 'amount')})"
    needed = ((score, share * _positive(best, "best")) for score, share in _MONETARY_SHARES)
    return _ladder([*((score, f"{total} >= {number}") for score, number in needed), (1, f"{total} > 0")])


def score(
    event: str = EVENT,
    amount: str = AMOUNT,
    horizon: str = HORIZON,
    best_count: float = BEST_COUNT,
    best_amount: float = BEST_AMOUNT,
) -> str:
    """Score recency, frequency and spending together: up to 15, and 0 for somebody who bought nothing.

    Args:
        event: The event that is a purchase.
        amount: The property that says how much was paid.
        horizon: How far back to look, such as `365d`.
        best_count: How many purchases are best; above zero.
        best_amount: Which sum is best; above zero.

    Raises:
        ValueError: An argument makes no sense.
    """
    parts = (
        recency(event, horizon),
        frequency(event, horizon, best_count),
        monetary(event, amount, horizon, best_amount),
    )
    return f"({' + '.join(parts)})"


FUNCTIONS: Final = (
    SegmentFunction("rfm.recency", "How lately somebody bought: 5 is best, 0 is not at all.", recency),
    SegmentFunction("rfm.frequency", "How often somebody bought: 5 is best, 0 is never.", frequency),
    SegmentFunction("rfm.monetary", "How much somebody spent: 5 is best, 0 is nothing.", monetary),
    SegmentFunction("rfm.score", "Recency, frequency and spending together: 15 is best, 0 is nothing.", score),
)


def _ladder(steps: Iterable[tuple[int, str]]) -> str:
    """Return the score of the first step that holds, else 0."""
    return "(" + "".join(f"{condition} ? {points} : " for points, condition in steps) + "0)"


def _events(event: str, horizon: str) -> str:
    _seconds(horizon)
    return f"events({_text(event, 'event')}).within({json.dumps(horizon)})"


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is a name in quotes")
    return json.dumps(value, ensure_ascii=False)


def _positive(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        raise ValueError(f"{name} is a number above zero")
    return value


def _seconds(horizon: object) -> int:
    found = _DURATION.fullmatch(horizon) if isinstance(horizon, str) else None
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if seconds < _RECENCY_PARTS[0][1]:
        raise ValueError("horizon is a duration such as 365d, of at least twelve seconds")
    return seconds
