"""What the segment service measures about itself."""

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
behind_seconds = _meter.create_gauge(
    "sima_segment_behind", "s", "How long ago all facts and changes of the grouping were last worked off, by workspace."
)
