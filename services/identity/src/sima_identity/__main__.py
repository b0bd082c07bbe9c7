"""Starts the identity service: `python -m sima_identity` serves, `python -m sima_identity migrate` migrates."""

from sima_runtime.entry import run
from sima_runtime.server import serve

from sima_identity.service import assembled
from sima_identity.settings import IdentitySettings


async def main(settings: IdentitySettings) -> None:
    """Serve until told to stop."""
    async with assembled(settings) as service:
        await serve(settings, [service.servicer], background=service.background, on_stop=[service.wakeups.close])


if __name__ == "__main__":
    run("identity", IdentitySettings, main)
