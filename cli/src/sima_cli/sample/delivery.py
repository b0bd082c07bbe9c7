"""What a channel sends: one HTTP request, made once and never changed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

from sima_cli.sample.people import Plan
from sima_cli.sample.truth import Testimony


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request of a channel.

    Attributes:
        source: The configured source that it is for.
        body: The exact bytes.
        at: When it arrives, by the story's clock.
        about: The truth about it; never sent.
        headers: Name to value.
        path: Where it goes, below the source's address; with the query.
        method: Of HTTP.
    """

    source: str
    body: bytes
    at: datetime
    about: Testimony
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    method: str = "POST"


def arrival(plan: Plan, happened: datetime, chance: Random) -> datetime:
    """Return when a message arrives: mostly at once, sometimes minutes, and now and then days after it happened."""
    draw = chance.random()
    if draw < 0.03:
        delay = timedelta(days=chance.uniform(1, 6))
    elif draw < 0.13:
        delay = timedelta(minutes=chance.uniform(1, 90))
    else:
        delay = timedelta(seconds=chance.uniform(0.1, 3))
    return min(happened + delay, plan.until)


def with_retries(plan: Plan, deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Return the deliveries in order of arrival, some of them a second time, as a channel does that saw no answer."""
    chance = plan.random("retries")
    arrived = list(deliveries)
    arrived += [_again(plan, one, chance) for one in arrived if chance.random() < 0.02]
    return sorted(arrived, key=lambda one: (one.at, one.source, one.body))


def _again(plan: Plan, one: Delivery, chance: Random) -> Delivery:
    return replace(one, at=min(one.at + timedelta(seconds=chance.uniform(5, 3_600)), plan.until))
