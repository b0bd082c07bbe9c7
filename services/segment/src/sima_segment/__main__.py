"""Starts the segment service: `python -m sima_segment` serves, `python -m sima_segment migrate` migrates."""

from sima_runtime.entry import run
from sima_runtime.server import serve

from sima_segment.service import assembled
from sima_segment.settings import SegmentSettings


async def main(settings: SegmentSettings) -> None:
    """Serve until told to stop."""
    async with assembled(settings) as service:
        await serve(settings, [service.servicer], background=service.background, on_stop=[service.wakeups.close])


if __name__ == "__main__":
    run("segment", SegmentSettings, main)
