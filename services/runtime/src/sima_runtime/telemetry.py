"""Metrics: OpenTelemetry instruments that every service shares, and the Prometheus endpoint that shows them.

A service makes its own instruments with `meter("sima.identity")`. Labels never hold personal data, and only values of
which there are few.
"""

import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from prometheus_client import start_http_server

from sima_runtime.errors import FixConfigurationError

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.5, 5, 10, 30)


def meter(name: str) -> metrics.Meter:
    """Return the meter under which a part of Sima makes its instruments, for example `sima.identity`."""
    return metrics.get_meter(name)


@dataclass(eq=False, slots=True)
class FeedProgress:
    """How far one reader of a feed is: everything written before `delivered_until` (monotonic) was delivered."""

    delivered_until: float = field(default_factory=time.monotonic)


class FeedLag:
    """Observes how many seconds the slowest reader of a feed is behind; nothing while nobody reads."""

    def __init__(self, feed: str) -> None:
        self.feed = feed
        self._readers: set[FeedProgress] = set()
        _feeds.add(self)

    @contextmanager
    def reader(self) -> Iterator[FeedProgress]:
        """Count a reader in while it reads."""
        progress = FeedProgress()
        self._readers.add(progress)
        try:
            yield progress
        finally:
            self._readers.discard(progress)

    def seconds(self) -> float | None:
        """Lag of the slowest reader; None while nobody reads."""
        oldest = min((progress.delivered_until for progress in self._readers), default=None)
        return None if oldest is None else time.monotonic() - oldest


_feeds: weakref.WeakSet[FeedLag] = weakref.WeakSet()


def _observe_lag(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
    for lag in list(_feeds):
        seconds = lag.seconds()
        if seconds is not None:
            yield metrics.Observation(seconds, {"feed": lag.feed})


_meter = meter("sima.runtime")
call_seconds = _meter.create_histogram("sima_call_duration", "s", "Duration of served calls, by method and code.")
task_crashes = _meter.create_counter("sima_task_crashes", "1", "Background work that crashed and is done again.")
_meter.create_observable_gauge("sima_feed_lag", [_observe_lag], "s", "How far the slowest reader of a feed is behind.")


def start_metrics(address: str | None) -> None:
    """Begin to collect, and answer Prometheus at `host:port` if an address is given. Call once a process.

    Raises:
        FixConfigurationError: The address is none, or is in use.
    """
    buckets = View(
        instrument_type=Histogram, instrument_unit="s", aggregation=ExplicitBucketHistogramAggregation(_SECONDS)
    )
    metrics.set_meter_provider(
        MeterProvider([PrometheusMetricReader()], views=[buckets], exemplar_filter=AlwaysOffExemplarFilter())
    )
    if address is not None:
        _serve_metrics(address)


def _serve_metrics(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        start_http_server(int(port), host.strip("[]") or "0.0.0.0")  # noqa: S104  # empty host: every interface, as asked
    except (ValueError, OSError) as error:
        raise FixConfigurationError("metrics_address must be a free address such as 127.0.0.1:9464") from error
