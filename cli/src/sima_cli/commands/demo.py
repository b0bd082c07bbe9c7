"""`sima demo`: the sample channels in, people and segments out."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from sima_cli.commands.options import connection_of
from sima_cli.failures import runs
from sima_cli.folder import Folder

EXAMPLE = "Example: [cyan]sima demo --people 500 --stay[/]"

People = Annotated[int, typer.Option("--people", min=20, max=100_000, help="How many people to make up.")]
Seed = Annotated[int, typer.Option("--seed", help="Another seed, other people.")]
Junk = Annotated[float, typer.Option("--junk", min=0, max=10, help="Percent of messages with junk in them.")]
SharedDevices = Annotated[
    float, typer.Option("--shared-devices", min=0, max=5, help="Percent of the people who share a family's tablet.")
]
Stay = Annotated[bool, typer.Option("--stay", help="Keep everything running afterwards, until Ctrl-C.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")]


@runs
async def demo(  # noqa: PLR0917 - its options
    context: typer.Context,
    people: People = 2_000,
    seed: Seed = 1,
    junk: Junk = 3.0,
    shared_devices: SharedDevices = 2.0,
    stay: Stay = False,
    as_json: AsJson = False,
) -> None:
    """Send a made-up world through every channel into a fresh Sima, and report what it understood."""
    begun = time.monotonic()
    from sima_cli.demo.whole import Wish, demonstrate  # noqa: PLC0415 - takes seconds, and the other commands need none
    from sima_cli.sample.people import Plan  # noqa: PLC0415

    plan = Plan(people, datetime.now(UTC).replace(microsecond=0), seed, junk / 100, shared_devices / 100)
    await demonstrate(Folder(connection_of(context).data_dir), plan, Wish(begun, stay=stay, as_json=as_json))
