"""`sima identity`: why identifiers are one person, and decisions where that is wrong."""

import getpass
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima_runtime.errors import NotFoundError

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
from sima_cli.output import age, first, harmless, out, print_json, table
from sima_cli.words import decided, refused

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


@contextmanager
def _telling_of_unseen(given: Mapping[str, str]) -> Iterator[None]:
    """Say which of the identifiers that were given, by the field of each, Sima has never seen."""
    try:
        yield
    except NotFoundError as error:
        if error.resource != "identifier" or error.name not in given:
            raise
        raise RefusedError(f"Sima has never seen {given[error.name]}.") from None


def _places(side: str, given: Sequence[str]) -> dict[str, str]:
    return {f"{side}[{number}]": text for number, text in enumerate(given)}


def deciding(reason: str, actor: str | None, request_id: str | None, preview: bool) -> pb.Deciding:
    """Return who decides and why; by default the user, in a call of its own."""
    return pb.Deciding(
        actor=getpass.getuser() if actor is None else actor,
        reason=reason,
        request_id=uuid4().hex if request_id is None else request_id,
        preview=preview,
    )


@app.command(epilog="Example: [cyan]sima identity explain email:ada@example.com loyalty_card:4711[/]")
@runs
async def explain(context: typer.Context, one: One, other: Other, region: Region = None, as_json: Json = False) -> None:
    """Say why two identifiers are one person, or what keeps them apart and what would have to change."""
    request = pb.ExplainLinkRequest(**_two(one, other, region))
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        with telling_of_regions(one, region), _telling_of_unseen({"identifier": one, "other": other}):
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
        with _telling_of_unseen(_places("identifiers", identifiers) | _places("others", others or ())):
            outcome = (await service.call(service.stub.Split, request)).outcome
    _show_outcome(outcome, request.deciding, as_json)


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
        with _telling_of_unseen({"identifier": one, "other": other}):
            outcome = (await service.call(service.stub.NeverLink, request)).outcome
    _show_outcome(outcome, request.deciding, as_json)


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
        with _telling_of_unseen({"identifier": one, "other": other}):
            outcome = (await service.call(service.stub.AlwaysLink, request)).outcome
    _show_outcome(outcome, request.deciding, as_json)


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
        outcome = (await service.call(service.stub.WithdrawDecision, request)).outcome
    _show_outcome(outcome, by, as_json)


def _write(file: str, text: str) -> None:
    if file == "-":
        sys.stdout.write(text)
    else:
        Path(file).write_text(text, encoding="utf-8")


def _show_outcome(outcome: pb.Outcome, by: pb.Deciding, as_json: bool) -> None:
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
    _show_decision(outcome.decision, by)
    if outcome.also_decided:
        out.print(
            f"[yellow]{'Decision' if len(outcome.also_decided) == 1 else 'Decisions'} "
            f"{', '.join(outcome.also_decided)} about two of them say the same, and hold.[/]"
        )


def _show_decision(decision: pb.Decision, by: pb.Deciding) -> None:
    said = f"{harmless(decision.withdrawn_by)}: {harmless(decision.withdrawal_reason)}"
    if decision.HasField("withdrawn_at") and (decision.withdrawn_by, decision.withdrawal_reason) != (
        by.actor,
        by.reason,
    ):
        out.print(f"Decision [bold]{decision.id}[/] was taken back before, by {said}. That stays as it is.")
    elif decision.HasField("withdrawn_at"):
        out.print(f"Decision [bold]{decision.id}[/] is taken back.")
    elif by.preview:
        out.print("[dim]Nothing is decided; without --preview it would be.[/]")
    else:
        out.print(f"Decision [bold]{decision.id}[/]; take it back with `sima identity withdraw`.")


def _show_links(links: Iterable[pb.Link]) -> None:
    rows = []
    for link in links:
        seen = [f"{one.source} {one.message_id}".strip() for one in link.evidence]
        deciding_it = [f"decision {one}" for one in link.decision_ids]
        refusal = shapes.refusal(link)
        why = f"{refused(refusal)}: {link.remedy}" if refusal else ""
        ends = (shapes.identifier(end) for end in (link.identifier, link.other))
        rows.append((*ends, ", ".join([*seen, *deciding_it]), why))
    if rows:
        out.print(table("", ("identifier", "and", "because of", "does not bind"), rows))


def _show_decisions(found: Iterable[pb.Decision]) -> None:
    rows = [
        (
            one.id,
            decided(shapes.decision_kind(one)),
            " ".join(map(shapes.identifier, one.identifiers)),
            " ".join(map(shapes.identifier, one.others)),
            f"{one.actor}, {age(shapes.instant(one.decided_at))}: {one.reason}",
            f"{one.withdrawn_by}: {one.withdrawal_reason}" if one.withdrawn_by else "",
        )
        for one in found
    ]
    if rows:
        out.print(table("Decisions", ("id", "kind", "identifiers", "others", "by", "taken back"), rows))
