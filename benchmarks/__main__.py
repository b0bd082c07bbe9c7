"""Runs benchmarks: all of them, or those named, and prints one JSON object a figure.

python -m benchmarks [--list] [--scale SHARE] [NAME...]
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import uvloop
from sima_runtime.garbage import relieve_collector

from benchmarks import ingest, large, profiles, start, truth
from benchmarks.figures import Figure, tell

#: What each name runs, given a scale. One that stands under two names yields the figures of both.
BENCHMARKS: Mapping[str, Callable[[float], AsyncIterator[Figure]]] = {
    "start_s": start.start,
    "ingest": ingest.ingest,
    "collect": ingest.collect,
    "single_event_ms": ingest.single_event,
    "get_profile_ms": profiles.get_profile,
    "full_evaluation": large.large,
    "live_ms": large.large,
    "truth": truth.truth,
}


async def run(names: list[str], scale: float) -> None:
    """Run some benchmarks, one after the other, each once."""
    for benchmark in dict.fromkeys(BENCHMARKS[name] for name in names):
        tell(f"{', '.join(name for name in BENCHMARKS if BENCHMARKS[name] is benchmark)} ...")
        async for figure in benchmark(scale):
            print(figure.line(), flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Each figure beside its floor.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="which to run; all if none is named")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size, for a quick try")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if options.list:
        print("\n".join(BENCHMARKS))
    else:
        relieve_collector()  # as the services do, so that their pauses are measured and not the client's own
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # likewise
            runner.run(run(options.names or list(BENCHMARKS), options.scale))


if __name__ == "__main__":
    main()
