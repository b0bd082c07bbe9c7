"""`sima profile`: who somebody is, what happened to them, and which segments they are in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sima.profile.v1.profile_service_pb2 import GetProfileRequest, ListEventsRequest
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceStub
from sima_runtime.errors import InvalidFieldsError

from sima_cli import shapes
from sima_cli.commands.options import Json, Limit, connection_of
from sima_cli.errors import RefusedError
from sima_cli.failures import explained, runs
from sima_cli.keys import KEY_HELP, REGION_HELP, lacks_region, memberships_request, profile_key
from sima_cli.output import age, out, print_json, profile_card, table

app = typer.Typer(no_args_is_help=True, help="Who somebody is, and what happened to them.")

Key = Annotated[str, typer.Argument(metavar="KEY", help=KEY_HELP)]
Region = Annotated[str | None, typer.Option("--region", metavar="XX", help=REGION_HELP)]
Names = Annotated[list[str] | None, typer.Option("--name", help="Only events with this name; may be repeated.")]


@contextmanager
def telling_of_regions(key: str, region: str | None) -> Iterator[None]:
    """Say behind a refusal of a local phone number by which option it can be read."""
    try:
        yield
    except InvalidFieldsError as error:
        if not lacks_region(key, region):
            raise
        hint = "A phone number without country code needs --region, for example --region SA."
        raise RefusedError(f"{explained(error)}\n{hint}") from None


@app.command(epilog="Example: [cyan]sima profile get email:ada@example.com[/]")
@runs
async def get(context: typer.Context, key: Key, region: Region = None, as_json: Json = False) -> None:
    """Show a profile: every trait with its source, method and age, and the values that lost."""
    async with connection_of(context).calls("profile", ProfileServiceStub) as service:
        with telling_of_regions(key, region):
            answer = await service.call(service.stub.GetProfile, GetProfileRequest(key=profile_key(key, region)))
    if as_json:
        print_json(shapes.profile(answer.profile))
    else:
        out.print(profile_card(answer.profile))


@app.command(epilog="Example: [cyan]sima profile events phone:'0912 345 6789' --region IR --name order_completed[/]")
@runs
async def events(  # noqa: PLR0917 - its options
    context: typer.Context,
    key: Key,
    region: Region = None,
    name: Names = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List what happened to somebody, newest first."""
    request = ListEventsRequest(key=profile_key(key, region), names=name or [])
    async with connection_of(context).calls("profile", ProfileServiceStub) as service:
        with telling_of_regions(key, region):
            found = await service.pages(service.stub.ListEvents, request, lambda page: page.events, limit)
    if as_json:
        print_json([shapes.event(event) for event in found])
        return
    rows = [
        (age(shapes.instant(event.occurred_at)), event.event.name, event.source, event.event.properties.decode())
        for event in found
    ]
    out.print(table("", ("when", "event", "source", "properties"), rows))


@app.command(epilog="Example: [cyan]sima profile segments email:ada@example.com[/]")
@runs
async def segments(context: typer.Context, key: Key, region: Region = None, as_json: Json = False) -> None:
    """List the segments that somebody is in."""
    async with connection_of(context).calls("segment", SegmentServiceStub) as service:
        with telling_of_regions(key, region):
            answer = await service.call(service.stub.GetMemberships, memberships_request(key, region))
    if as_json:
        print_json({"profile_id": answer.profile_id, "segments": shapes.memberships(answer.memberships)})
        return
    rows = [(one.segment, age(shapes.instant(one.entered_at))) for one in answer.memberships]
    out.print(table("", ("segment", "entered"), rows))
