"""The collector's own metrics. Labels hold names from the configuration and fixed words only."""

from sima_runtime.telemetry import meter

from sima_collector.facts import Chunk

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


def count_facts(chunk: Chunk, outcome: str, count: int) -> None:
    """Count facts of a chunk with one outcome."""
    if count:
        _facts.add(count, {"workspace": chunk.workspace, "source": chunk.source, "outcome": outcome})
