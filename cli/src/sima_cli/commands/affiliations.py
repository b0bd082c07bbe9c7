"""`sima identity affiliations`: to which companies somebody belongs, and who belongs to a company."""

from collections.abc import Iterable, Iterator

import typer
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from sima_cli import shapes
from sima_cli.commands.identity import Key, Region, whose
from sima_cli.commands.options import Json, Limit, connection_of
from sima_cli.commands.profile import telling_of_regions
from sima_cli.failures import runs
from sima_cli.output import age, first, out, print_json, table

app = typer.Typer()


@app.command(epilog="Example: [cyan]sima identity affiliations domain:acme.example.com[/]")
@runs
async def affiliations(
    context: typer.Context, key: Key, region: Region = None, limit: Limit = 50, as_json: Json = False
) -> None:
    """List the companies of a person, or the people of a company, and what showed them together."""
    request = pb.ListAffiliationsRequest(**whose(key, region))
    async with connection_of(context).calls("identity", IdentityServiceStub) as service:
        with telling_of_regions(key, region):
            found = await service.pages(
                service.stub.ListAffiliations, request, lambda page: page.affiliations, limit + 1
            )
    whole, found = len(found) <= limit, first(found, limit)
    if as_json:
        print_json([shapes.affiliation(one) for one in found])
        return
    if not found:
        out.print("[dim]Sima has seen it with nobody whom it could belong to, or who could belong to it.[/]")
        return
    out.print(table("Affiliations", ("person", "company", "shown by", "first seen"), list(_rows(found))))
    people, companies = ({getattr(one, name) for one in found} for name in ("profile_id", "account_profile_id"))
    if whole:
        out.print(f"People: {len(people)}. Companies: {len(companies)}.")


def _rows(found: Iterable[pb.Affiliation]) -> Iterator[tuple[str, ...]]:
    for one in found:
        yield (
            shapes.identifier(one.person),
            shapes.identifier(one.account),
            ", ".join(evidence.source for evidence in one.evidence),
            age(min(shapes.instant(evidence.first_seen_at) for evidence in one.evidence)),
        )
