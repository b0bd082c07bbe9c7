"""Recency, frequency and monetary scores for Sima's rules: `rfm.score() >= 12`."""

from collections.abc import Sequence

from sima_sdk import SegmentFunction, hookimpl

from sima_plugin_rfm.scores import FUNCTIONS


@hookimpl
def register_segment_functions() -> Sequence[SegmentFunction]:
    """Bring `rfm.recency`, `rfm.frequency`, `rfm.monetary` and `rfm.score`."""
    return FUNCTIONS
