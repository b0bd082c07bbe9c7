"""`sima identity policy`: by which rules people are told apart; tried out, set, and shown."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from sima_cli import shapes
from sima_cli.calls import PATIENCE_SECONDS
from sima_cli.commands.identity import Actor, Reason, RequestId, deciding
from sima_cli.commands.options import Json, connection_of
from sima_cli.config import RulesFile, read_rules
from sima_cli.errors import CommandError
from sima_cli.failures import runs
from sima_cli.output import err, out, print_json, table, visible
from sima_cli.rules import as_yaml, from_message, to_message
from sima_cli.ruling import set_rules, telling_of_file

if TYPE_CHECKING:
    from sima_cli.ruling import IdentityCalls

app = typer.Typer(no_args_is_help=True, help="By which rules people are told apart; tried out, set, and shown.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="sima.yaml, or - for the standard input.")]

_LOOK_SECONDS = 0.5
_SHOWN = 3


@app.command(epilog="Example: [cyan]sima identity policy show > sima.yaml[/]")
@runs
async def show(
    context: typer.Context,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="An earlier one (default: the one in force).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print all rules as a file that could be set again; who set them, why and when stands there as comments."""
    async with _service(context) as service:
        request = pb.GetIdentityPolicyRequest(version=version or 0)
        policy = (await service.call(service.stub.GetIdentityPolicy, request)).policy
        in_force = policy if version is None else await _newest(service)
    if as_json:
        print_json(shapes.policy_version(policy))
    else:
        sys.stdout.write(policy_text(policy, in_force.version))


@app.command(epilog="Example: [cyan]sima identity policy preview sima.yaml --one-in 10[/]")
@runs
async def preview(
    context: typer.Context,
    file: File,
    one_in: Annotated[
        int, typer.Option("--one-in", min=1, help="Look only at every so many-th group of identifiers with evidence.")
    ] = 1,
    examples: Annotated[int, typer.Option("--examples", min=1, max=100, help="At most so many of each sort.")] = 10,
    as_json: Json = False,
) -> None:
    """Say who would be one person under the rules of a file and is not now, and the reverse; change nothing."""
    rules = read_rules(file)
    async with _service(context) as service:
        effect = await _tried(service, rules, one_in, examples)
    if as_json:
        print_json(shapes.policy_effect(effect))
    else:
        _show_effect(effect, one_in)


@app.command("set", epilog="Example: [cyan]sima identity policy set sima.yaml --reason 'tills are nobody' --wait[/]")
@runs
async def set_(  # noqa: PLR0917 - its options
    context: typer.Context,
    file: File,
    reason: Reason,
    actor: Actor = None,
    request_id: RequestId = None,
    expected_version: Annotated[
        int | None, typer.Option("--expected-version", min=0, help="Refuse if another version is in force.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until all that is stored is grouped anew; an hour at most.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put the rules of a file in force, in place of all that was set before; what is stored is grouped anew."""
    rules = read_rules(file)
    by = deciding(reason, actor, request_id, preview=False)
    async with _service(context) as service:
        policy = await set_rules(service, rules, by, expected_version=expected_version)
        if wait:
            policy = await _applied(service, policy)
    if as_json:
        print_json(shapes.policy_version(policy))
    else:
        out.print(f"Version [bold]{policy.version}[/] is in force. {_progress(policy)}")


def policy_text(policy: pb.PolicyVersion, in_force: int) -> str:
    """Return a file that says the rules, with who set them, and whether they are in force, as comments."""
    lines = [f"Version {policy.version}: nothing was ever set; these are the rules of the installation."]
    if policy.version:
        set_by = f"set by {policy.actor} at {_minute(policy.set_at)}"
        lines = [f"Version {policy.version}, {set_by}: {policy.reason}", _progress(policy)]
    if policy.version != in_force:
        lines[1:] = [f"Version {in_force} is in force since."]
    if protected := [kind.kind for kind in policy.policy.kinds if kind.protected]:
        lines.append(f"No values are kept of: {', '.join(protected)}.")
    return "".join(f"# {visible(line)}\n" for line in lines) + as_yaml(from_message(policy.policy))


def _progress(policy: pb.PolicyVersion) -> str:
    if policy.HasField("applied_at"):
        return f"All that is stored is grouped under it since {_minute(policy.applied_at)}."
    return "Not yet all that is stored is grouped under it."


def _minute(moment: Timestamp) -> str:
    return f"{shapes.instant(moment):%Y-%m-%d %H:%M} UTC"


def _service(context: typer.Context) -> "AbstractAsyncContextManager[IdentityCalls]":
    return connection_of(context).calls("identity", IdentityServiceStub)


async def _tried(service: "IdentityCalls", file: RulesFile, one_in: int, examples: int) -> pb.PolicyEffect:
    request = pb.PreviewIdentityPolicyRequest(policy=to_message(file.rules), one_in=one_in, examples=examples)
    effect = pb.PolicyEffect()
    with telling_of_file(file), _bars(one_in) as show_progress:
        async for progress in service.stream(service.stub.PreviewIdentityPolicy, request, PATIENCE_SECONDS):
            show_progress(progress)
            effect = progress.effect
    return effect


@contextmanager
def _bars(one_in: int) -> Iterator[Callable[[pb.PreviewIdentityPolicyResponse], None]]:
    """Show how far a preview has got; gives the function that is told."""
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        read, grouped = bars.add_task("identifiers read", total=None), bars.add_task("grouped", total=None)

        def tell(progress: pb.PreviewIdentityPolicyResponse) -> None:
            bars.update(read, completed=progress.read, total=progress.total)
            bars.update(grouped, completed=progress.grouped, total=progress.total // one_in)

        yield tell


async def _applied(service: "IdentityCalls", policy: pb.PolicyVersion) -> pb.PolicyVersion:
    """Wait until all that is stored is grouped under a version; return it.

    Raises:
        CommandError: Another version came first, or it takes too long.
    """
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            with err.status("Grouping what is stored"):
                while not policy.HasField("applied_at"):
                    await asyncio.sleep(_LOOK_SECONDS)
                    policy = await _in_force(service, policy.version)
    except asyncio.CancelledError:
        err.print(
            f"Interrupted. Version {policy.version} is in force, and what is stored is grouped under it all the same. "
            "`sima identity policy show` says when all of it is."
        )
        raise
    except TimeoutError:
        raise CommandError(
            f"Version {policy.version} is in force, but not yet all that is stored is grouped under it. "
            "`sima identity policy show` says when it is."
        ) from None
    return policy


async def _newest(service: "IdentityCalls") -> pb.PolicyVersion:
    return (await service.call(service.stub.GetIdentityPolicy, pb.GetIdentityPolicyRequest())).policy


async def _in_force(service: "IdentityCalls", version: int) -> pb.PolicyVersion:
    policy = await _newest(service)
    if policy.version != version:
        raise CommandError(f"Version {policy.version} came before all that is stored was grouped under {version}.")
    return policy


def _show_effect(effect: pb.PolicyEffect, one_in: int) -> None:
    if one_in > 1:
        out.print(f"[dim]Counted among one in {one_in:,} of the groups of identifiers with evidence between them.[/]")
    rows = (
        ("profiles", effect.profiles_before, effect.profiles_after),
        ("shared identifiers", effect.shared_before, effect.shared_after),
        ("blocked identifiers", effect.blocked_before, effect.blocked_after),
    )
    out.print(table("", ("", "#now", "#then"), ((name, f"{now:,}", f"{then:,}") for name, now, then in rows)))
    out.print(
        f"Merges: [bold]{effect.merges:,}[/]. Splits: [bold]{effect.splits:,}[/]. "
        f"Identifiers that would be with others than now: [bold]{effect.identifiers_moved:,}[/]."
    )
    _show_examples("Merges, the largest first", effect.merge_examples)
    _show_examples("Splits, the largest first", effect.split_examples)


def _show_examples(title: str, examples: Iterable[pb.Regrouping]) -> None:
    rows = [(_people(one.before), _people(one.after)) for one in examples]
    if rows:
        out.print(table(title, ("one person each now", "and then"), rows))


def _people(groups: Iterable[pb.PersonGroup]) -> Text:
    return Text("\n".join(f"• {_names(group)}" for group in groups) + "\n")


def _names(group: pb.PersonGroup) -> str:
    named = [visible(shapes.identifier(one)) for one in group.identifiers[:_SHOWN]]
    more = group.size - len(named)
    return ", ".join(named) + (f" and {more:,} more" if more else "")
