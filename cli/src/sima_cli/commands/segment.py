"""`sima segment`: who is in which segment, now and from now on."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from rich.markup import escape
from sima.segment.v1.segment_service_pb2 import (
    CreateSegmentRequest,
    DeleteSegmentRequest,
    GetSegmentRequest,
    ListMembersRequest,
    ListSegmentsRequest,
    MembershipChange,
    PreviewSegmentRequest,
    PreviewSegmentResponse,
    Segment,
    UpdateSegmentRequest,
    WatchMembershipsRequest,
)
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceStub
from sima_runtime.errors import InvalidFieldsError

from sima_cli import shapes
from sima_cli.calls import Calls
from sima_cli.commands.options import Json, Limit, connection_of
from sima_cli.errors import RefusedError
from sima_cli.failures import runs
from sima_cli.output import age, harmless, out, print_json, rule_problems, table

if TYPE_CHECKING:
    from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceAsyncStub

    SegmentCalls = Calls[SegmentServiceAsyncStub]

app = typer.Typer(no_args_is_help=True, help="Who is in which segment, now and from now on.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the segment.")]
Rule = Annotated[str, typer.Argument(metavar="RULE", help="In the rule language; quote it for your shell.")]
Description = Annotated[str | None, typer.Option("--description", help="For people.")]


@app.command(
    epilog="Example: [cyan]sima segment create big-spenders "
    '\'events("order_completed").within("365d").sum("total") > 1000.0\'[/]'
)
@runs
async def create(
    context: typer.Context, name: Name, rule: Rule, description: Description = None, as_json: Json = False
) -> None:
    """Create a segment; its members are known when the command ends."""
    segment = Segment(name=name, rule=rule, description=description or "")
    async with _service(context) as service:
        try:
            answer = await service.call(service.stub.CreateSegment, CreateSegmentRequest(segment=segment))
        except InvalidFieldsError as error:
            raise await _refusal(service, rule, error) from None
    _print_segment(answer.segment, as_json)


@app.command(epilog="Example: [cyan]sima segment update vip --rule 'rfm.score() >= 12'[/]")
@runs
async def update(
    context: typer.Context,
    name: Name,
    rule: Annotated[str | None, typer.Option("--rule", help="The new rule.")] = None,
    description: Description = None,
    as_json: Json = False,
) -> None:
    """Change the rule or the description; the members follow before the command ends."""
    changes = {"rule": rule, "description": description}
    if rule is None and description is None:
        raise typer.BadParameter("one of them must be given", context, param_hint="'--rule' or '--description'")
    mask = FieldMask(paths=[field for field, text in changes.items() if text is not None])
    request = UpdateSegmentRequest(
        segment=Segment(name=name, rule=rule or "", description=description or ""), update_mask=mask
    )
    async with _service(context) as service:
        try:
            answer = await service.call(service.stub.UpdateSegment, request)
        except InvalidFieldsError as error:
            raise await _refusal(service, rule or "", error) from None
    _print_segment(answer.segment, as_json)


@app.command(epilog='Example: [cyan]sima segment preview \'traits.city in ["Riyadh", "الرياض"]\'[/]')
@runs
async def preview(
    context: typer.Context,
    rule: Rule,
    sample: Annotated[int, typer.Option("--sample", min=1, max=100, help="How many members to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Say what a rule would give, or what is wrong with it, without storing anything."""
    async with _service(context) as service:
        answer = await _preview(service, rule, sample)
    if as_json:
        print_json(shapes.preview(answer))
    elif not answer.problems:
        out.print(f"[bold]{answer.size:,}[/] {_people(answer.size)}, found in {answer.took.ToMilliseconds()} ms")
        out.print("\n".join(answer.sample_profile_ids), style="dim")
    if answer.problems:
        raise _not_compiled(rule, answer)


@app.command("list", epilog="Example: [cyan]sima segment list --json[/]")
@runs
async def list_all(context: typer.Context, as_json: Json = False) -> None:
    """List all segments with their sizes."""
    async with _service(context) as service:
        found = await service.pages(service.stub.ListSegments, ListSegmentsRequest(), lambda page: page.segments)
    if as_json:
        print_json([shapes.segment(segment) for segment in found])
        return
    rows = [(_marked(segment), f"{segment.size:,}", segment.rule, segment.description) for segment in found]
    out.print(table("", ("segment", "#people", "rule", "description"), rows))


@app.command(epilog="Example: [cyan]sima segment show vip[/]")
@runs
async def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a segment: its rule and its size."""
    async with _service(context) as service:
        answer = await service.call(service.stub.GetSegment, GetSegmentRequest(name=name))
    _print_segment(answer.segment, as_json)


@app.command(epilog="Example: [cyan]sima segment members vip --limit 10[/]")
@runs
async def members(context: typer.Context, name: Name, limit: Limit = 100, as_json: Json = False) -> None:
    """List who is in a segment, by profile id."""
    async with _service(context) as service:
        found = await service.pages(
            service.stub.ListMembers, ListMembersRequest(name=name), lambda page: page.members, limit
        )
    if as_json:
        print_json([shapes.member(member) for member in found])
        return
    rows = [(member.profile_id, age(shapes.instant(member.entered_at))) for member in found]
    out.print(table("", ("profile", "entered"), rows))


@app.command(epilog="Example: [cyan]sima segment delete vip[/]")
@runs
async def delete(context: typer.Context, name: Name) -> None:
    """Delete a segment; its members leave. Refused while another segment's rule refers to it."""
    async with _service(context) as service:
        await service.call(service.stub.DeleteSegment, DeleteSegmentRequest(name=name))
    out.print(f"Deleted {escape(name)}.")


@app.command(epilog="Example: [cyan]sima segment watch vip[/], in another terminal while facts arrive")
@runs
async def watch(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Segments; none: all.")] = None,
    until_now: Annotated[bool, typer.Option("--until-now", help="End when all there is was shown.")] = False,
    as_json: Json = False,
) -> None:
    """Show who enters and leaves, first what happened so far, until Ctrl-C."""
    request = WatchMembershipsRequest(segments=names or [], until_now=until_now)
    async with _service(context) as service:
        async for page in service.stream(service.stub.WatchMemberships, request):
            for change in page.changes:
                _print_change(change, as_json)


def _service(context: typer.Context) -> AbstractAsyncContextManager["SegmentCalls"]:
    return connection_of(context).calls("segment", SegmentServiceStub)


async def _preview(service: "SegmentCalls", rule: str, sample: int) -> PreviewSegmentResponse:
    request = PreviewSegmentRequest(rule=rule, sample_size=sample)
    return await service.call(service.stub.PreviewSegment, request)


async def _refusal(service: "SegmentCalls", rule: str, error: InvalidFieldsError) -> Exception:
    """Return the error with the mistakes of the rule marked, if it is the rule that was refused."""
    if not any(violation.field.endswith("rule") for violation in error.violations):
        return error
    answer = await _preview(service, rule, 1)
    return _not_compiled(rule, answer) if answer.problems else error


def _not_compiled(rule: str, answer: PreviewSegmentResponse) -> RefusedError:
    return RefusedError(f"The rule does not compile:\n\n{rule_problems(rule, answer.problems)}")


def _print_segment(segment: Segment, as_json: bool) -> None:
    if as_json:
        print_json(shapes.segment(segment))
        return
    out.print(f"[bold magenta]{escape(segment.name)}[/]  [bold]{segment.size:,}[/] {_people(segment.size)}")
    out.print(f"  {harmless(segment.rule)}", style="dim")
    if segment.frozen:
        out.print("  [yellow]not understood any more: the members stay as they were[/]")
    if segment.description:
        out.print(f"  {harmless(segment.description)}")


def _people(count: int) -> str:
    return "person" if count == 1 else "people"


def _marked(segment: Segment) -> str:
    return f"{segment.name} (frozen)" if segment.frozen else segment.name


def _print_change(change: MembershipChange, as_json: bool) -> None:
    shape: dict[str, Any] = shapes.membership_change(change)
    if as_json:
        print_json(shape)
        return
    sign = "[green]+ entered[/]" if shape["change"] == "entered" else "[red]- left   [/]"
    out.print(f"{shape['changed_at']}  {sign}  [magenta]{escape(change.segment)}[/]  {change.profile_id}")
