"""`sima identity shared | hubs | growth`: what many people have in common, and what grows suspiciously."""

from enum import StrEnum
from typing import Annotated

import typer
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from sima_cli import shapes
from sima_cli.commands.options import Json, Limit, connection_of
from sima_cli.failures import runs
from sima_cli.output import age, first, out, print_json, table
from sima_cli.words import refused

app = typer.Typer()


class Why(StrEnum):
    """Why an identifier is shared."""

    HUB = "hub"
    SEVERAL_PEOPLE = "several_people"


_REASONS = {Why.HUB: pb.SHARED_REASON_HUB, Why.SEVERAL_PEOPLE: pb.SHARED_REASON_SEVERAL_PEOPLE}

WhyShared = Annotated[Why | None, typer.Option("--reason", help="Only those that are shared for this reason.")]


@app.command(epilog="Example: [cyan]sima identity shared --reason several_people[/]")
@runs
async def shared(context: typer.Context, reason: WhyShared = None, limit: Limit = 50, as_json: Json = False) -> None:
    """List identifiers that belong to nobody alone, and with how many others they were seen; ⚠ grew suspiciously."""
    request = pb.ListSharedRequest(reason=pb.SHARED_REASON_UNSPECIFIED if reason is None else _REASONS[reason])
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        found = await service.pages(service.stub.ListShared, request, lambda page: page.identifiers, limit + 1)
    found = first(found, limit)
    if as_json:
        print_json([shapes.shared(one) for one in found])
        return
    rows = [
        (_marked(one), refused(shapes.shared_reason(one)), *_seen_with(one), age(shapes.instant(one.shared_since)))
        for one in found
    ]
    out.print(table("Shared", ("identifier", "because of", *_SEEN_WITH, "shared since"), rows))


@app.command(epilog="Example: [cyan]sima identity hubs --limit 20[/]")
@runs
async def hubs(context: typer.Context, limit: Limit = 50, as_json: Json = False) -> None:
    """List identifiers seen with so many others that they bind nobody, or soon will; ⚠ grew suspiciously."""
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        found = await service.pages(service.stub.ListHubs, pb.ListHubsRequest(), lambda page: page.hubs, limit + 1)
    found = first(found, limit)
    if as_json:
        print_json([shapes.hub(one) for one in found])
        return
    rows = [
        (
            _marked(one),
            "hub" if one.hub else "near",
            f"{one.degree.strong} of {one.degree.limit}",
            *_seen_with(one),
            _gained(one.degree.last_day),
            _gained(one.degree.last_week),
        )
        for one in found
    ]
    out.print(table("Hubs", ("identifier", "", "#strong", *_SEEN_WITH, "#last day", "#last week"), rows))


@app.command(epilog="Example: [cyan]sima identity growth[/]")
@runs
async def growth(context: typer.Context, limit: Limit = 50, as_json: Json = False) -> None:
    """List what gained suspiciously many identifiers within a day, the latest first."""
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        request = pb.ListGrowthRequest()
        found = await service.pages(service.stub.ListGrowth, request, lambda page: page.growth, limit + 1)
    found = first(found, limit)
    if as_json:
        print_json([shapes.growth(one) for one in found])
        return
    rows = [
        (
            age(shapes.instant(one.noticed_at)),
            shapes.identifier(one.identifier) if one.HasField("identifier") else "the profile",
            one.profile_id,
            f"{one.gained:,} (limit {one.limit:,})",
        )
        for one in found
    ]
    out.print(table("Suspicious growth", ("noticed", "what grew", "profile", "#gained in a day"), rows))


_SEEN_WITH = ("#seen with", "#profiles", "of kinds")


def _seen_with(one: pb.SharedIdentifier | pb.Hub) -> tuple[str, str, str]:
    """The columns that say with how many others an identifier was seen."""
    if not one.HasField("degree"):
        return "not counted yet", "", ""
    kinds = ", ".join(f"{each.identifiers:,} {each.kind}" for each in one.degree.kinds)
    return f"{one.degree.identifiers:,}", f"{one.degree.profiles:,}", kinds


def _marked(one: pb.SharedIdentifier | pb.Hub) -> str:
    """An identifier, with a mark if it grew suspiciously."""
    return shapes.identifier(one.identifier) + (" ⚠" if one.HasField("growth_noticed_at") else "")


def _gained(growth: pb.Growth) -> str:
    return f"+{growth.identifiers:,} (+{growth.profiles:,} profiles)" if growth.identifiers else ""
