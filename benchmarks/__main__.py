"""Runs benchmarks: all of them, or those named, and prints one JSON object a figure.

python -m benchmarks [--list] [NAME...]
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping

from benchmarks import ingest
from benchmarks.figures import Figure

BENCHMARKS: Mapping[str, Callable[[], AsyncIterator[Figure]]] = {
    "ingest": ingest.ingest,
    "collect": ingest.collect,
    "single_event_ms": ingest.single_event,
}


async def run(names: list[str]) -> None:
    """Run some benchmarks, one after the other."""
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        async for figure in BENCHMARKS[name]():
            print(figure.line(), flush=True)


def main() -> None:
    """Read the command line."""
    names = sys.argv[1:]
    if "--list" in names:
        print("\n".join(BENCHMARKS))
    elif unknown := set(names) - set(BENCHMARKS):
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    else:
        asyncio.run(run(names or list(BENCHMARKS)))


if __name__ == "__main__":
    main()
