"""The `sima` command: its options, its groups, its help."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sima_cli.commands import (
    affiliations,
    demo,
    erasing,
    history,
    hubs,
    identity,
    imports,
    plugins,
    policy,
    profile,
    segment,
    up,
)
from sima_cli.connection import Connection
from sima_cli.failures import EXIT_CODES
from sima_cli.given import authorities, grpc_address, http_address, workspace_name

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # they may be personal data
    epilog=EXIT_CODES,
)
app.command("up", epilog=up.EXAMPLE)(up.up)
app.command("demo", epilog=demo.EXAMPLE)(demo.demo)
app.command("import", epilog=imports.EXAMPLE)(imports.import_files)
app.add_typer(profile.app, name="profile")
app.add_typer(segment.app, name="segment")
app.add_typer(identity.app, name="identity")
identity.app.add_typer(affiliations.app)
identity.app.add_typer(erasing.app)
identity.app.add_typer(history.app)
identity.app.add_typer(hubs.app)
identity.app.add_typer(policy.app, name="policy")
app.command("plugins", epilog=plugins.EXAMPLE)(plugins.plugins)

_WHERE = "Where Sima is (default: a `sima up` of this machine)"


def _address(service: str, example: str, parser: Callable[[str], str] = grpc_address) -> object:
    return typer.Option(
        f"--{service}",
        parser=parser,
        envvar=f"SIMA_{service.upper()}_ADDRESS",
        metavar="ADDRESS",
        help=f"Address of {service}, for example {example}.",
        rich_help_panel=_WHERE,
    )


def _file(name: str, help_text: str, callback: Callable[[Path | None], Path | None] | None = None) -> object:
    return typer.Option(
        f"--{name}",
        callback=callback,
        envvar=f"SIMA_{name.upper().replace('-', '_')}",
        metavar="FILE",
        help=help_text,
        exists=True,
        dir_okay=False,
        rich_help_panel=_WHERE,
    )


@app.callback()
def main(  # noqa: PLR0917 - the options of all commands
    context: typer.Context,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", envvar="SIMA_DATA_DIR", help="Folder of `sima up` on this machine.")
    ] = Path(".sima"),
    identity_address: Annotated[str | None, _address("identity", "identity.example:8443")] = None,
    profile_address: Annotated[str | None, _address("profile", "profile.example:8443")] = None,
    segment_address: Annotated[str | None, _address("segment", "segment.example:8443")] = None,
    collector: Annotated[str | None, _address("collector", "https://collector.example", http_address)] = None,
    workspace: Annotated[
        str | None,
        typer.Option(
            "--workspace",
            parser=workspace_name,
            metavar="NAME",
            envvar="SIMA_WORKSPACE",
            help="Which one, with a credential for several.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    token_file: Annotated[Path | None, _file("token-file", "Bearer token for the gRPC services.")] = None,
    import_token_file: Annotated[Path | None, _file("import-token-file", "Bearer token for sending files.")] = None,
    ca_file: Annotated[
        Path | None, _file("ca-file", "Authorities of the servers, PEM; turns TLS on.", authorities)
    ] = None,
    cert_file: Annotated[Path | None, _file("cert-file", "Own certificate for mutual TLS, PEM.")] = None,
    key_file: Annotated[Path | None, _file("key-file", "Own private key for mutual TLS, PEM.")] = None,
) -> None:
    """Sima knows a customer by the face: many channels in, one person out."""
    context.obj = Connection(
        data_dir=data_dir,
        identity=identity_address,
        profile=profile_address,
        segment=segment_address,
        collector=collector,
        workspace=workspace,
        token_file=token_file,
        import_token_file=import_token_file,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
    )
