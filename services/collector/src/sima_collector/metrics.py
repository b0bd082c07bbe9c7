"""The collector's own metrics. Labels hold names from the configuration and fixed words only."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from opentelemetry.metrics import CallbackOptions, Observation
from sima_runtime.telemetry import meter

from sima_collector.facts import Chunk, Refused
from sima_collector.rooms import Room

_meter = meter("sima.collector")
worker_ends = _meter.create_counter(
    "sima_collector_worker_ends", "1", "Workers that had to be replaced, by cause (time_limit, death)."
)
drain_failures = _meter.create_counter(
    "sima_collector_drain_failures", "1", "Attempts to send buffered facts on that failed, by workspace."
)
_facts = _meter.create_counter(
    "sima_collector_facts", "1", "Facts by workspace, source and outcome; buffered ones are counted again when sent on."
)
_refusals = _meter.create_counter(
    "sima_collector_refusals", "1", "Payloads, and parts of payloads, that were stored as refused, by source."
)
request_seconds = _meter.create_histogram(
    "sima_collector_request_duration", "s", "Duration of HTTP requests, by source and status."
)
refusals_expired = _meter.create_counter(
    "sima_collector_refusals_expired", "1", "Refused payloads that were removed because of their age."
)
refusals_evicted = _meter.create_counter(
    "sima_collector_refusals_evicted", "1", "Refused payloads that were removed for want of room, by source."
)
_observed: dict[str, Callable[[], Iterable[Observation]]] = {}


def observe_rooms(rooms: Sequence[Room], waiting: Callable[[], int]) -> None:
    """Begin to show how full the rooms are and how many payloads wait for a worker."""
    _observed["used"] = lambda: [Observation(room.used, {"room": room.name}) for room in rooms]
    _observed["limit"] = lambda: [Observation(room.limit, {"room": room.name}) for room in rooms]
    _observed["waiting"] = lambda: [Observation(waiting())]


def _observing(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: _observed[name]() if name in _observed else ()


_meter.create_observable_gauge(
    "sima_collector_room_used", [_observing("used")], "By", "Bytes on disk, by room (buffer, refusals)."
)
_meter.create_observable_gauge(
    "sima_collector_room_limit",
    [_observing("limit")],
    "By",
    "Most bytes on disk, by room; beyond it facts get 503, and refusals make older ones go.",
)
_meter.create_observable_gauge(
    "sima_collector_waiting_payloads", [_observing("waiting")], "1", "Payloads that wait for a worker."
)


def count_facts(chunk: Chunk, outcome: str, count: int) -> None:
    """Count facts of a chunk with one outcome."""
    if count:
        _facts.add(count, {"workspace": chunk.workspace, "source": chunk.source, "outcome": outcome})


def count_refusals(refused: Iterable[Refused]) -> None:
    """Count refused payloads and parts of payloads."""
    for (workspace, source), count in Counter((one.workspace, one.source) for one in refused).items():
        _refusals.add(count, {"workspace": workspace, "source": source})
