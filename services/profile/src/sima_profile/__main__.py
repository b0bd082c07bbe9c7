"""Starts the profile service: `python -m sima_profile` serves, `python -m sima_profile migrate` migrates."""

import gc

from sima_runtime.entry import run
from sima_runtime.server import serve

from sima_profile.service import assembled
from sima_profile.settings import ProfileSettings

_OBJECTS_BETWEEN_COLLECTIONS = 100_000


async def main(settings: ProfileSettings) -> None:
    """Serve until told to stop."""
    async with assembled(settings) as service:
        _relieve_collector()
        await serve(settings, [service.servicer], background=service.background, on_stop=[service.wakeups.close])


def _relieve_collector() -> None:
    """Keep the garbage collector from walking over what stays for ever, which took a seventh of the time of a batch.

    A batch makes some ten objects a fact, none of them in a circle, so they need no collector to go away.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


if __name__ == "__main__":
    run("profile", ProfileSettings, main)
