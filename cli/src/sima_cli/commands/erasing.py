"""`sima identity erase | erasures`: nothing of an identifier stays but a keyed tombstone; who asked for it, and why."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated

import typer
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from sima_cli import shapes
from sima_cli.calls import PATIENCE_SECONDS
from sima_cli.commands.identity import Actor, Reason, Region, RequestId, deciding, whose
from sima_cli.commands.options import Json, Limit, connection_of
from sima_cli.errors import RefusedError
from sima_cli.failures import runs
from sima_cli.keys import is_profile_id, named_identifier
from sima_cli.output import err, first, out, print_json, table

app = typer.Typer()

Erased = Annotated[
    list[str], typer.Argument(metavar="KEY...", help="Identifiers as KIND:VALUE, and at most one profile id.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether that is meant: it cannot be taken back.")]


@app.command(epilog="Example: [cyan]sima identity erase email:ada@example.com --reason 'she asked for it'[/]")
@runs
async def erase(  # noqa: PLR0917 - its options
    context: typer.Context,
    keys: Erased,
    reason: Reason,
    region: Region = None,
    actor: Actor = None,
    request_id: RequestId = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Erase identifiers, or all of a profile, with everything that was seen of them; who is left is grouped anew."""
    profiles = [key for key in keys if is_profile_id(key)]
    if len(profiles) > 1:
        raise RefusedError("KEY: expected at most one profile id")
    if not yes:
        async with connection_of(context).calls("identity", IdentityServiceStub) as service:
            request = pb.LookupRequest(keys=[pb.LookupKey(**whose(key, region)) for key in keys])
            found = (await service.call(service.stub.Lookup, request)).results
        err.print(_extent(dict(zip(keys, found, strict=True))))
        typer.confirm("What is erased is gone for good. Erase it?", abort=True, err=True)
    erasure = pb.EraseIdentifiersRequest(
        identifiers=[named_identifier(key) for key in keys if not is_profile_id(key)],
        profile_id=profiles[0] if profiles else "",
        default_region=region or "",
        deciding=deciding(reason, actor, request_id, preview=False),
    )
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        answer = await service.call(service.stub.EraseIdentifiers, erasure, PATIENCE_SECONDS)
    if as_json:
        print_json(shapes.erasure(answer))
        return
    out.print(f"Erased [bold]{answer.identifiers_erased}[/] known identifiers; what was observed before is refused.")
    out.print("[dim]A row without a time that is edited at the source brings them back: remove them there first.[/]")
    if answer.pending:
        out.print("[dim]A neighbourhood is large; who is left is grouped in a moment.[/]")
    elif answer.changes:
        out.print(f"{len(answer.changes)} identifiers of others moved.")


@app.command(epilog="Example: [cyan]sima identity erasures --limit 20[/]")
@runs
async def erasures(context: typer.Context, limit: Limit = 50, as_json: Json = False) -> None:
    """List who had identifiers erased, when and why, newest first; whose they were, nobody knows any more."""
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        request = pb.ListErasuresRequest()
        found = await service.pages(service.stub.ListErasures, request, lambda page: page.erasures, limit + 1)
    found = first(found, limit)
    if as_json:
        print_json(list(map(_shape, found)))
    elif found:
        rows = [
            (
                f"{shapes.instant(one.erased_at):%Y-%m-%d %H:%M:%S}",
                one.actor,
                one.reason,
                f"{one.identifiers_erased:,}",
                one.request_id,
            )
            for one in found
        ]
        out.print(table("Erasures", ("time (UTC)", "who", "why", "#were known", "request id"), rows))
    else:
        out.print("[dim]Nobody was erased.[/]")


def _shape(one: pb.Erasure) -> shapes.Shape:
    """An erasure, the way `--json` prints it."""
    told = {name: getattr(one, name) for name in ("actor", "reason", "request_id", "identifiers_erased")}
    return {"erased_at": shapes.instant(one.erased_at).isoformat(), **told}


def _extent(found: Mapping[str, pb.LookupResult]) -> str:
    """What goes and what stays of the profiles that keys lead to."""
    known = {key: one for key, one in found.items() if one.profile_id}
    sizes = {one.profile_id: len(one.identifiers) for one in known.values()}
    named = Counter(one.profile_id for one in known.values())
    named.update({one.profile_id: len(one.identifiers) for key, one in known.items() if is_profile_id(key)})
    going = sum(min(size, named[profile]) for profile, size in sizes.items())
    text = f"Of {len(sizes)} profiles {going} identifiers would go and {sum(sizes.values()) - going} stay"
    return f"{text}; the id of a profile stands for all that it has."
