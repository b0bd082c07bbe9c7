"""`sima identity`: why identifiers are one person, and decisions where that is wrong."""

import getpass
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from sima_cli import shapes
from sima_cli.commands.options import Json, Limit, connection_of
from sima_cli.commands.profile import telling_of_regions
from sima_cli.errors import RefusedError
from sima_cli.failures import runs
from sima_cli.graphs.folding import fold
from sima_cli.graphs.model import read
from sima_cli.graphs.svg import draw
from sima_cli.graphs.terminal import terminal
from sima_cli.keys import KEY_HELP, REGION_HELP, named_identifier, profile_key
from sima_cli.output import age, first, out, print_json, table

if TYPE_CHECKING:
    from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

    from sima_cli.calls import Calls

    IdentityCalls = Calls[IdentityServiceAsyncStub]

app = typer.Typer(no_args_is_help=True, help="Why identifiers are one person, and decisions where that is wrong.")

Key = Annotated[str, typer.Argument(metavar="KEY", help=KEY_HELP)]
One = Annotated[str, typer.Argument(metavar="KIND:VALUE", help="One of the two.")]
Other = Annotated[str, typer.Argument(metavar="KIND:VALUE", help="The other.")]
Named = Annotated[list[str], typer.Argument(metavar="KIND:VALUE...", help="Those who are somebody else.")]
From = Annotated[
    list[str] | None,
    typer.Option(
        "--from", metavar="KIND:VALUE", help="From whom they are apart; may be repeated. Default: the strongest."
    ),
]
Region = Annotated[str | None, typer.Option("--region", metavar="XX", help=REGION_HELP)]
Reason = Annotated[str, typer.Option("--reason", help="Why. It is kept, so it should name no customer.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Who decides (default: your user name).")]
RequestId = Annotated[
    str | None, typer.Option("--request-id", help="The same id again decides nothing new (default: a new one).")
]
Svg = Annotated[
    str | None, typer.Option("--svg", metavar="FILE", help="Write a picture, as SVG; - is the standard output.")
]
Drawn = Annotated[
    int, typer.Option("--limit", min=1, max=1_000, help="Draw at most so many identifiers; the rest is counted.")
]
KnownAt = Annotated[
    str | None,
    typer.Option("--known-at", "--at", metavar="TIME", help="What Sima knew then; UTC if it has no zone."),
]
TrueAt = Annotated[
    str | None,
    typer.Option("--true-at", metavar="TIME", help="Who was one person then, by the time of messages, as known today."),
]
Preview = Annotated[bool, typer.Option("--preview", help="Show what would change, and decide nothing.")]


def whose(key: str, region: str | None) -> dict[str, Any]:
    """Return the fields of a request that say whom it is about."""
    wanted = profile_key(key, region)
    if wanted.HasField("identifier"):
        return {"identifier": wanted.identifier, "default_region": wanted.default_region}
    return {"profile_id": wanted.profile_id}


def _two(one: str, other: str, region: str | None) -> dict[str, Any]:
    """Return the fields of a request that name two identifiers."""
    sides = {"identifier": named_identifier(one), "other": named_identifier(other)}
    return {**sides, "default_region": region or ""}


def deciding(reason: str, actor: str | None, request_id: str | None, preview: bool) -> pb.Deciding:
    """Return who decides and why; by default the user, in a call of its own."""
    return pb.Deciding(
        actor=actor or getpass.getuser(), reason=reason, request_id=request_id or uuid4().hex, preview=preview
    )


@app.command(epilog="Example: [cyan]sima identity explain email:ada@example.com loyalty_card:4711[/]")
@runs
async def explain(context: typer.Context, one: One, other: Other, region: Region = None, as_json: Json = False) -> None:
    """Say why two identifiers are one person, or what keeps them apart and what would have to change."""
    request = pb.ExplainLinkRequest(**_two(one, other, region))
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        with telling_of_regions(one, region):
            answer = await service.call(service.stub.ExplainLink, request)
    if as_json:
        print_json(shapes.explanation(answer))
        return
    out.print("[green]They are one person.[/]" if answer.linked else "[yellow]They are not one person.[/]")
    if answer.partial:
        out.print("[dim]The neighbourhood is so large that only a part of it was searched.[/]")
    if not answer.chain:
        out.print("[dim]Nothing that Sima has seen leads from one to the other.[/]")
    _show_links(answer.chain)


@app.command(epilog="Example: [cyan]sima identity graph email:ada@example.com --svg ada.svg[/]")
@runs
async def graph(  # noqa: PLR0917 - its options
    context: typer.Context,
    key: Key,
    region: Region = None,
    limit: Drawn = 25,
    svg: Svg = None,
    as_json: Json = False,
) -> None:
    """Draw all evidence and decisions within and around a profile."""
    if svg and as_json:
        raise typer.BadParameter("expected --svg or --json, not both")
    request = pb.GetProfileGraphRequest(**whose(key, region))
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        with telling_of_regions(key, region):
            answer = await service.call(service.stub.GetProfileGraph, request)
    if as_json:
        print_json(shapes.graph(answer))
        return
    shown, folded = fold(read(answer), limit)
    if not svg:
        out.print(terminal(shown, folded))
        return
    _write(svg, draw(shown, folded))


@app.command(epilog="Example: [cyan]sima identity decisions email:ada@example.com[/]")
@runs
async def decisions(
    context: typer.Context, key: Key, region: Region = None, limit: Limit = 50, as_json: Json = False
) -> None:
    """List what was decided about somebody, newest first, also what was taken back."""
    request = pb.ListDecisionsRequest(**whose(key, region))
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        with telling_of_regions(key, region):
            found = await service.pages(service.stub.ListDecisions, request, lambda page: page.decisions, limit + 1)
    found = first(found, limit)
    if as_json:
        print_json([shapes.decision(one) for one in found])
    elif found:
        _show_decisions(found)
    else:
        out.print("[dim]Nothing was decided about them.[/]")


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


@app.command(
    epilog="Example: [cyan]sima identity split email:eve@example.com --from user_id:ada --reason 'wrong card'[/]"
)
@runs
async def split(  # noqa: PLR0917 - its options
    context: typer.Context,
    identifiers: Named,
    reason: Reason,
    others: From = None,
    region: Region = None,
    actor: Actor = None,
    request_id: RequestId = None,
    preview: Preview = False,
    as_json: Json = False,
) -> None:
    """Decide that identifiers of a profile are somebody else; the rest goes where evidence leads it."""
    request = pb.SplitRequest(
        identifiers=map(named_identifier, identifiers),
        others=map(named_identifier, others or ()),
        default_region=region or "",
        deciding=deciding(reason, actor, request_id, preview),
    )
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        _show_outcome((await service.call(service.stub.Split, request)).outcome, as_json)


@app.command(
    epilog="Example: [cyan]sima identity never email:ada@example.com email:eve@example.com --reason 'sisters'[/]"
)
@runs
async def never(  # noqa: PLR0917 - its options
    context: typer.Context,
    one: One,
    other: Other,
    reason: Reason,
    region: Region = None,
    actor: Actor = None,
    request_id: RequestId = None,
    preview: Preview = False,
    as_json: Json = False,
) -> None:
    """Decide that two identifiers are not one person, whatever joins them now or later."""
    request = pb.NeverLinkRequest(**_two(one, other, region), deciding=deciding(reason, actor, request_id, preview))
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        _show_outcome((await service.call(service.stub.NeverLink, request)).outcome, as_json)


@app.command(epilog="Example: [cyan]sima identity always user_id:7 email:ada@example.com --reason 'she said so'[/]")
@runs
async def always(  # noqa: PLR0917 - its options
    context: typer.Context,
    one: One,
    other: Other,
    reason: Reason,
    region: Region = None,
    actor: Actor = None,
    request_id: RequestId = None,
    preview: Preview = False,
    as_json: Json = False,
) -> None:
    """Decide that two identifiers are one person, whether anything was seen or not."""
    request = pb.AlwaysLinkRequest(**_two(one, other, region), deciding=deciding(reason, actor, request_id, preview))
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        _show_outcome((await service.call(service.stub.AlwaysLink, request)).outcome, as_json)


@app.command(epilog="Example: [cyan]sima identity withdraw 0b5e…(32 digits) --reason 'they are one after all'[/]")
@runs
async def withdraw(  # noqa: PLR0917 - its options
    context: typer.Context,
    decision: Annotated[str, typer.Argument(metavar="ID", help="The id of the decision.")],
    reason: Reason,
    actor: Actor = None,
    request_id: RequestId = None,
    preview: Preview = False,
    as_json: Json = False,
) -> None:
    """Take a decision back: everything is as if it had never been made."""
    by = deciding(reason, actor, request_id, preview)
    request = pb.WithdrawDecisionRequest(decision_id=decision, deciding=by)
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        _show_outcome((await service.call(service.stub.WithdrawDecision, request)).outcome, as_json)


def _write(file: str, text: str) -> None:
    if file == "-":
        sys.stdout.write(text)
    else:
        Path(file).write_text(text, encoding="utf-8")


def _show_outcome(outcome: pb.Outcome, as_json: bool) -> None:
    if as_json:
        print_json(shapes.outcome(outcome))
        return
    rows = [(shapes.identifier(one.identifier), one.previous_profile_id, one.profile_id) for one in outcome.changes]
    if rows:
        out.print(table("Who moves", ("identifier", "from profile", "to profile"), rows))
    elif outcome.pending:
        out.print("[dim]The neighbourhood is large; who moves is worked out in a moment.[/]")
    else:
        out.print("[dim]Nobody moves.[/]")
    if outcome.decision.HasField("withdrawn_at"):
        out.print(f"Decision [bold]{outcome.decision.id}[/] is taken back.")
    elif outcome.decision.id:
        out.print(f"Decision [bold]{outcome.decision.id}[/]; take it back with `sima identity withdraw`.")


def _show_links(links: Iterable[pb.Link]) -> None:
    rows = []
    for link in links:
        seen = [f"{one.source} {one.message_id}".strip() for one in link.evidence]
        decided = [f"decision {one}" for one in link.decision_ids]
        why = f"{shapes.refusal(link)}: {link.remedy}" if link.refusal else ""
        ends = (shapes.identifier(end) for end in (link.identifier, link.other))
        rows.append((*ends, ", ".join([*seen, *decided]), why))
    if rows:
        out.print(table("", ("identifier", "and", "because of", "does not bind"), rows))


def _show_decisions(found: Iterable[pb.Decision]) -> None:
    rows = [
        (
            one.id,
            shapes.decision_kind(one),
            " ".join(map(shapes.identifier, one.identifiers)),
            " ".join(map(shapes.identifier, one.others)),
            f"{one.actor}, {age(shapes.instant(one.decided_at))}: {one.reason}",
            f"{one.withdrawn_by}: {one.withdrawal_reason}" if one.withdrawn_by else "",
        )
        for one in found
    ]
    if rows:
        out.print(table("Decisions", ("id", "kind", "identifiers", "others", "by", "taken back"), rows))


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
    out.print(table("Changes", ("time (UTC)", "identifier", "from", "to", "because of", "who"), rows))


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
    title = f"Profile {found.profile_id}" if found.profile_id else "One person"
    out.print(table(title, ("identifier", "", "since (UTC)"), rows))
