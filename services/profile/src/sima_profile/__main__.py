"""Starts the profile service: `python -m sima_profile` serves, `python -m sima_profile migrate` migrates."""

from sima_runtime.entry import run
from sima_runtime.server import serve

from sima_profile.service import assembled
from sima_profile.settings import ProfileSettings


async def main(settings: ProfileSettings) -> None:
    """Serve until told to stop."""
    async with assembled(settings) as service:
        await serve(settings, [service.servicer], background=service.background, on_stop=[service.wakeups.close])


if __name__ == "__main__":
    run("profile", ProfileSettings, main)
