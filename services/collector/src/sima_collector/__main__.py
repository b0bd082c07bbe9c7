"""Starts the collector: `python -m sima_collector`, configured by `SIMA_COLLECTOR_*`."""

from sima_runtime.entry import run
from sima_runtime.garbage import relieve_collector

from sima_collector.app import make_app
from sima_collector.server import serve_http
from sima_collector.service import running_collector
from sima_collector.settings import CollectorSettings


async def main(settings: CollectorSettings) -> None:
    """Serve until told to stop, then empty the buffer."""
    async with running_collector(settings) as collector:
        relieve_collector()
        await serve_http(make_app(collector), settings, collector.stop)


if __name__ == "__main__":
    run("collector", CollectorSettings, main)
