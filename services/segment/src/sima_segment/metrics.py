"""What the segment service measures about itself."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Protocol
from weakref import WeakSet

from opentelemetry.metrics import CallbackOptions, Observation
from sima_runtime.telemetry import meter

_meter = meter("sima.segment")

step_seconds = _meter.create_histogram(
    "sima_segment_step_duration", "s", "From taking in what arrived until the changed memberships are stored."
)
affected_people = _meter.create_counter("sima_segment_affected", "1", "People whose segments were looked at again.")
membership_changes = _meter.create_counter("sima_segment_changes", "1", "People who entered or left a segment.")
beyond_limits = _meter.create_gauge(
    "sima_segment_beyond_limits",
    "1",
    "Event names, properties and traits that came beyond the limits since the start, by workspace and kind.",
)


class Followed(Protocol):
    """A workspace that is followed."""

    workspace: str
    frozen: frozenset[str]

    def behind(self) -> timedelta:
        """How long ago everything was last worked off."""


class Gauges:
    """Observes workspaces: when it is asked, so that one that hangs is seen to hang."""

    def __init__(self) -> None:
        self._followed: WeakSet[Followed] = WeakSet()

    def watch(self, followed: Followed) -> None:
        """Observe a workspace from now on, as long as there is somebody who follows it."""
        self._followed.add(followed)

    def behind(self, _: CallbackOptions) -> Iterable[Observation]:
        """Tell of each workspace how far it is behind."""
        for each in list(self._followed):
            yield Observation(each.behind().total_seconds(), {"workspace": each.workspace})

    def frozen(self, _: CallbackOptions) -> Iterable[Observation]:
        """Tell of each workspace how many of its segments are frozen."""
        for each in list(self._followed):
            yield Observation(len(each.frozen), {"workspace": each.workspace})


workspaces = Gauges()
_meter.create_observable_gauge(
    "sima_segment_behind",
    [workspaces.behind],
    "s",
    "How long ago all facts and changes of the grouping were last worked off, by workspace.",
)
_meter.create_observable_gauge(
    "sima_segment_frozen",
    [workspaces.frozen],
    "1",
    "Segments whose members stay as they were, because their rules are not understood any more, by workspace.",
)
