"""Runs benchmarks: all of them, or those named, and prints one JSON object a figure.

python -m benchmarks [--list] [--scale SHARE] [NAME...]
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import uvloop
from sima_runtime.garbage import relieve_collector

from benchmarks import (
    identity,
    identity_explain,
    identity_hub,
    identity_preview,
    identity_split,
    ingest,
    large,
    profiles,
    start,
    truth,
)
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
    "identity_resolve_known": identity.resolve,
    "identity_resolve_new": identity.resolve,
    "identity_growth": identity.resolve,
    "identity_replicas": identity.resolve,
    "identity_hub_ms": identity_hub.hub,
    "identity_explain_ms": identity_explain.explain,
    "identity_as_of_ms": identity_explain.explain,
    "identity_split_ms": identity_split.split,
    "identity_preview_s": identity_preview.preview,
}
#: Those that take too long to be run unless they are named in full.
ON_DEMAND: Mapping[str, Callable[[float], AsyncIterator[Figure]]] = {"identity_growth_large": identity.resolve_large}
EVERY = {**BENCHMARKS, **ON_DEMAND}


def chosen(names: Sequence[str]) -> list[str]:
    """Return which benchmarks are meant: a name is one of them, or the first words of several; none means all.

    Raises:
        ValueError: No benchmark is called so; the text says which ones there are.
    """
    found: list[str] = []
    for name in names:
        meant = [name] if name in EVERY else [one for one in BENCHMARKS if one.startswith(f"{name}_")]
        if not meant:
            raise ValueError(f"no such benchmark: {name}; there are {', '.join(EVERY)}")
        found += meant
    return found or list(BENCHMARKS)


async def run(names: Sequence[str], scale: float) -> None:
    """Run some benchmarks, one after the other, each once."""
    for benchmark in dict.fromkeys(EVERY[name] for name in names):
        tell(f"{', '.join(name for name in EVERY if EVERY[name] is benchmark)} ...")
        async for figure in benchmark(scale):
            print(figure.line(), flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Each figure beside its floor.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="which to run, also `identity` for all of identity's")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size, for a quick try")
    options = parser.parse_args()
    try:
        names = chosen(options.names)
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        print("\n".join(EVERY))
    else:
        relieve_collector()  # as the services do, so that their pauses are measured and not the client's own
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # likewise
            runner.run(run(names, options.scale))


if __name__ == "__main__":
    main()
