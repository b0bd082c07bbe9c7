"""Synthetic facts for load: many people, each with an account and a browser, whose events come in time order."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sima.profile.v1 import profile_service_pb2 as pb
from sima.type.v1 import fact_pb2

CATEGORIES = ("running", "cycling", "swimming", "climbing", "reading", "music", "garden", "kitchen")
NAMES = ("page_viewed",) * 6 + ("product_viewed",) * 2 + ("product_added", "order_completed")


def facts(
    count: int, people: int, *, seed: int = 1, source: str = "bench", days: float = 30
) -> Iterator[fact_pb2.Fact]:
    """Yield facts with two identifiers each (user id and anonymous id), evenly spread over the last `days`."""
    chance = random.Random(seed)
    start = datetime.now(UTC) - timedelta(days=days)
    step = timedelta(days=days) / count
    for number in range(count):
        person = chance.randrange(people)
        fact = fact_pb2.Fact(source=source, message_id=f"{seed}-{number}")
        fact.identifiers.add(kind="user_id", value=f"u{person}")
        fact.identifiers.add(kind="anonymous_id", value=f"browser-{person}-{chance.randrange(2)}")
        fact.occurred_at.FromDatetime(start + number * step)
        fact.event.name = chance.choice(NAMES)
        fact.event.properties = json.dumps(
            {
                "category": chance.choice(CATEGORIES),
                "total": round(chance.uniform(1, 300), 2),
                "url": f"/p/{number % 997}",
            }
        ).encode()
        yield fact


def batches(count: int, size: int, people: int, *, seed: int = 1) -> list[pb.IngestRequest]:
    """Requests of `size` facts each, made before the clock runs."""
    stream = facts(count, people, seed=seed)
    return [pb.IngestRequest(facts=[next(stream) for _ in range(size)]) for _ in range(count // size)]
