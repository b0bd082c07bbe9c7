"""`sima identity history`: where identifiers moved and why, and who was one person at a moment."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from sima_cli import shapes
from sima_cli.commands.identity import Key, Region, whose
from sima_cli.commands.options import Json, Limit, connection_of
from sima_cli.commands.profile import telling_of_regions
from sima_cli.errors import RefusedError
from sima_cli.failures import runs
from sima_cli.output import out, print_json, table

if TYPE_CHECKING:
    from sima_cli.commands.identity import IdentityCalls

app = typer.Typer()

KnownAt = Annotated[
    str | None,
    typer.Option("--known-at", "--at", metavar="TIME", help="What Sima knew then; UTC if it has no zone."),
]
TrueAt = Annotated[
    str | None,
    typer.Option("--true-at", metavar="TIME", help="Who was one person then, by the time of messages, as known today."),
]


@app.command(
    epilog="Example: [cyan]sima identity history email:ada@example.com --known-at 2026-03-01T18:30:00+03:00[/]"
)
@runs
async def history(  # noqa: PLR0917 - its options
    context: typer.Context,
    key: Key,
    known_at: KnownAt = None,
    true_at: TrueAt = None,
    region: Region = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Show where an identifier, or the identifiers of a profile, moved and why; or who was one person at a moment."""
    if None not in {known_at, true_at}:
        raise typer.BadParameter(
            "expected --known-at or --true-at, not both: what was known of another time is not kept"
        )
    moment = true_at if known_at is None else known_at
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        with telling_of_regions(key, region):
            if moment is not None:
                result = await _past(service, pb.LookupKey(**whose(key, region)), moment, known=known_at is not None)
            else:
                request = pb.ListProfileChangesRequest(**whose(key, region))
                stub = service.stub.ListProfileChanges
                changes = await service.pages(stub, request, lambda page: page.changes, limit)
    if moment is not None:
        _show_past(result, "since" if known_at is not None else "first_seen_at", as_json)
    elif as_json:
        print_json([shapes.change(one) for one in changes])
    else:
        _show_changes(changes)


def _standing(one: pb.KnownIdentifier | pb.IdentifierAsKnown) -> str:
    return shapes.standing(one.shared, one.blocked) or ""


async def _past(
    service: "IdentityCalls", key: pb.LookupKey, moment: str, *, known: bool
) -> pb.LookupAsKnownResult | pb.LookupResult:
    """Ask for the profile that was known at a moment, or for that which is known of it today."""
    if known:
        request = pb.LookupAsKnownRequest(keys=[key], known_at=_moment(moment, "--known-at"))
        return (await service.call(service.stub.LookupAsKnown, request)).results[0]
    wanted = pb.LookupAsOfRequest(keys=[key], as_of=_moment(moment, "--true-at"))
    return (await service.call(service.stub.LookupAsOf, wanted)).results[0]


def _moment(text: str, option: str) -> Timestamp:
    """The instant that somebody wrote; without time zone it is UTC."""
    moment = Timestamp()
    try:
        read = datetime.fromisoformat(text)
        moment.FromDatetime(read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise RefusedError(f"{option}: expected a time such as 2026-03-01 or 2026-03-01T18:30:00+03:00") from None
    return moment


def _show_changes(found: Iterable[pb.ProfileChange]) -> None:
    rows = [
        (
            f"{shapes.instant(one.changed_at):%Y-%m-%d %H:%M:%S}",
            shapes.identifier(one.identifier),
            _place(one.previous_profile_id, shapes.standing(one.previously_shared, one.previously_blocked)) or "new",
            _place(one.profile_id, shapes.standing(one.shared, one.blocked)),
            _because(one),
            one.actor,
        )
        for one in found
    ]
    if rows:
        out.print(table("Changes", ("time (UTC)", "identifier", "from", "to", "because of", "who"), rows))
    else:
        out.print("[dim]Sima has never seen it.[/]")


def _because(change: pb.ProfileChange) -> str:
    told = [shapes.cause(change).replace("_", " "), change.decision_id, "taken back" if change.withdrawn else ""]
    return " ".join(filter(None, [*told, f"version {change.policy_version}" if change.policy_version else ""]))


def _place(profile_id: str, standing: str | None) -> str:
    return " ".join(filter(None, (profile_id, standing)))


def _show_past(found: pb.LookupAsKnownResult | pb.LookupResult, since: str, as_json: bool) -> None:
    if as_json:
        print_json(shapes.past(found, since))
        return
    if not found.identifiers:
        out.print("[dim]There was nothing of it then.[/]")
        return
    rows = [
        (shapes.identifier(one.identifier), _standing(one), f"{shapes.instant(getattr(one, since)):%Y-%m-%d %H:%M:%S}")
        for one in found.identifiers
    ]
    nobodys = any(one.blocked for one in found.identifiers)
    title = f"Profile {found.profile_id}" if found.profile_id else "Nobody's" if nobodys else "One person"
    out.print(table(title, ("identifier", "", "since (UTC)"), rows))
