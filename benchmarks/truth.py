"""How well people are found: made-up worlds of many shapes through all channels, compared with the truth.

The floor of a share is what the truth itself would reach: 1.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from sima_cli.connection import Connection
from sima_cli.demo.run import Listener, run_demo
from sima_cli.report.accuracy import Accuracy
from sima_cli.sample.generator import generate
from sima_cli.sample.people import Plan
from sima_cli.stack import Setup, own_sources, running_stack

from benchmarks.figures import SHARE, Figure, sized, tell
from benchmarks.stack import prepared, temporary_folder

#: How many people, for seeds 1 to 20.
PEOPLE = (
    *(200, 600, 300, 900, 200, 2_000, 400, 1_200, 300, 5_000),
    *(500, 1_500, 400, 10_000, 700, 800, 500, 1_800, 1_000, 20_000),
)
#: Of four and of five, so that twenty seeds meet every pair of them.
JUNK = (0.1, 0.0, 0.05, 0.02)
SHARED_DEVICES = (0.05, 0.02, 0.0, 0.03, 0.01)

_FEWEST_PEOPLE = 100
_FEWEST_SEEDS = 2


async def truth(scale: float) -> AsyncIterator[Figure]:
    """The least precision and recall of all seeds, each in a Sima of its own."""
    found = [await accuracy(plan(seed, scale)) for seed in range(1, sized(len(PEOPLE), scale, _FEWEST_SEEDS) + 1)]
    precision, recall = min(one.precision for one in found), min(one.recall for one in found)
    seeds = f"the truth itself; the least of {len(found)} seeds"
    yield Figure("truth_precision", precision, SHARE, 1.0, seeds, 1.0)
    yield Figure("truth_recall", recall, SHARE, 1.0, seeds, 0.97)


def plan(seed: int, scale: float) -> Plan:
    """The shape of a seed."""
    return Plan(
        people=sized(PEOPLE[seed - 1], scale, _FEWEST_PEOPLE),
        until=datetime.now(UTC).replace(microsecond=0),
        seed=seed,
        junk=JUNK[seed % len(JUNK)],
        shared_devices=SHARED_DEVICES[seed % len(SHARED_DEVICES)],
    )


async def accuracy(plan: Plan) -> Accuracy:
    """Run the demo with a plan, in a fresh folder."""
    sample = await asyncio.to_thread(generate, plan)
    with temporary_folder() as root:
        folder = prepared(root)
        async with running_stack(Setup(folder, folder.root, own_sources(folder)), _unheard) as running:
            listener = Listener(_unheard, _unheard)
            findings = await run_demo(running, Connection(folder.root), sample, folder.root / "sample", listener)
    found = findings.accuracy
    shape = f"{plan.people} people, {plan.junk:.0%} junk, {plan.shared_devices:.0%} shared devices"
    tell(f"seed {plan.seed}: {shape}: precision {found.precision:.6f}, recall {found.recall:.4f}")
    return found


def _unheard(_: str) -> None:
    """What is being done is too much to tell, for twenty."""
