"""What options say about where Sima is and who asks, checked before anything is tried: a mistake is no outage."""

import re
import ssl
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import typer
from sima_runtime.context import is_workspace_name

from sima_cli.errors import MisconfiguredError

_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+):\d{1,5}")
_RESOLVERS = ("dns:", "ipv4:", "ipv6:", "unix:")


def grpc_address(text: str) -> str:
    """Return the address of a gRPC service.

    Raises:
        typer.BadParameter: It is none.
    """
    if text.startswith(_RESOLVERS) or _HOST_AND_PORT.fullmatch(text):
        return text
    raise typer.BadParameter("expected host:port, for example identity.example:8443")


def http_address(text: str) -> str:
    """Return the address of the collector.

    Raises:
        typer.BadParameter: It is none.
    """
    with suppress(ValueError):  # brackets that hold no address, or a port that is no number
        url = urlsplit(text)
        if url.scheme in {"http", "https"} and url.hostname and url.port != 0:
            return text
    raise typer.BadParameter("expected http:// or https:// and a host, for example https://collector.example")


def workspace_name(text: str) -> str:
    """Return the name of a workspace.

    Raises:
        typer.BadParameter: It can be none.
    """
    if is_workspace_name(text):
        return text
    raise typer.BadParameter("expected at most 63 small letters, digits, _ and -, and no sign first")


def bearer_token(file: Path) -> str:
    """Return the token that the file of `--import-token-file` holds, read when it is needed: it may be a pipe.

    Raises:
        MisconfiguredError: It holds none.
    """
    token = file.read_text(encoding="ascii", errors="replace").strip()
    if token and token.isascii() and token.isprintable():
        return token
    raise MisconfiguredError(f"--import-token-file: expected one token, in ASCII, in {file}.")


def authorities(file: Path | None) -> Path | None:
    """Return a file of certificate authorities.

    Raises:
        typer.BadParameter: It holds none.
    """
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise typer.BadParameter("expected certificates in PEM") from None
    return file
