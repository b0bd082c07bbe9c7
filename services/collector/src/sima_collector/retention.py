"""Removes what was kept long enough: refused payloads, and checkpoints of imports that nobody went on with."""

import asyncio

import structlog

from sima_collector.metrics import refusals_expired
from sima_collector.store import Store
from sima_collector.store.refusals import now

_EVERY_SECONDS = 3_600.0
_MICROS_PER_DAY = 86_400_000_000

_log = structlog.get_logger(__name__)


async def expire_regularly(store: Store, days: float) -> None:
    """Remove what is older than `days`, now and every hour, until cancelled."""
    while True:
        await expire(store, days)
        await asyncio.sleep(_EVERY_SECONDS)


async def expire(store: Store, days: float) -> None:
    """Remove what came last more than `days` ago, and say how many refused payloads that were."""
    limit = now() - int(days * _MICROS_PER_DAY)
    count = await store.refusals.expire(limit)
    await store.checkpoints.expire(limit)
    if count:
        refusals_expired.add(count)
        _log.warning("refusals_expired", count=count, older_than_days=days)
