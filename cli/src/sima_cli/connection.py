"""Where a command finds Sima: addresses given by option or environment, else a `sima up` running on this machine."""

import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from grpc.aio import Channel
from sima_runtime.clients import ServiceClient
from sima_runtime.errors import FixConfigurationError, RemoteError
from sima_runtime.settings import ClientSettings
from sima_sdk.connectors import PullConnector
from sima_sdk.plugins import connectors, plugin_manager

from sima_cli.calls import Calls, Stub
from sima_cli.errors import CommandError, MisconfiguredError, RefusedError
from sima_cli.folder import Folder, Running
from sima_cli.given import bearer_token

_SETTING = re.compile(r"(?<!\S)client_((?:token|ca|cert|key)_file)(?!\S)")


@dataclass(frozen=True, slots=True)
class Connection:
    """What the person said about where Sima is; None where they said nothing.

    Attributes:
        data_dir: Where a `sima up` of this machine is looked for.
        identity: Address of the gRPC service.
        profile: Address of the gRPC service.
        segment: Address of the gRPC service.
        collector: Address of the collector, with `http://` or `https://`.
        workspace: Which workspace; needed only with a credential for several.
        token_file: File with a bearer token for the gRPC services.
        import_token_file: File with the bearer token of the source that files are sent to.
        ca_file: Certificate authorities of the servers, PEM; without it they are spoken to in plain text.
        cert_file: Own certificate for mutual TLS, PEM.
        key_file: Own private key for mutual TLS, PEM.
    """

    data_dir: Path
    identity: str | None = None
    profile: str | None = None
    segment: str | None = None
    collector: str | None = None
    workspace: str | None = None
    token_file: Path | None = None
    import_token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def address(self, service: str) -> str:
        """Return where a service is.

        Raises:
            CommandError: Nobody said so and nothing runs on this machine.
        """
        given: str | None = getattr(self, service)
        return given or str(getattr(self._running(service), service))

    def current_workspace(self) -> str | None:
        """Return the workspace of the calls; None: the one that the credential is for."""
        if self.workspace:
            return self.workspace
        running = Folder(self.data_dir).running()
        return running.workspace if running and not self._is_remote() else None

    def import_token(self, source: str) -> str:
        """Return the token for sending files to a source.

        Raises:
            CommandError: There is none, or its file holds none.
        """
        if self.import_token_file:
            return bearer_token(self.import_token_file)
        if self.collector:
            raise CommandError("Give the token of the source in a file: --import-token-file or SIMA_IMPORT_TOKEN_FILE.")
        running = self._running("collector")
        if source not in running.import_tokens:
            raise RefusedError(_without_token(source, running))
        return running.import_tokens[source]

    def tls_context(self) -> ssl.SSLContext:
        """Return how the collector proves who it is."""
        return ssl.create_default_context(cafile=self.ca_file)

    @asynccontextmanager
    async def client(self, service: str) -> AsyncIterator[ServiceClient]:
        """Give a client of a gRPC service.

        Raises:
            MisconfiguredError: A file that was given is not what it should be.
            RefusedError: The service wants a token and none was given.
        """
        client = self._client(service)
        try:
            yield client
        except RemoteError as error:
            if error.code != "UNAUTHENTICATED" or self.token_file:
                raise
            raise RefusedError(
                f"{error.service} wants a token; give one with --token-file or SIMA_TOKEN_FILE."
            ) from None
        finally:
            await client.close()

    @asynccontextmanager
    async def calls(self, service: str, stub: Callable[[Channel], Stub]) -> AsyncIterator[Calls[Stub]]:
        """Give the calls of a service, by its name and the class of its stub."""
        async with self.client(service) as client:
            yield Calls(client, stub(client.channel), self.current_workspace())

    def _client(self, service: str) -> ServiceClient:
        settings = ClientSettings(
            client_token_file=self.token_file,
            client_ca_file=self.ca_file,
            client_cert_file=self.cert_file,
            client_key_file=self.key_file,
            client_timeout_seconds=60.0,
        )
        try:
            return ServiceClient(service, self.address(service), settings)
        except FixConfigurationError as error:
            raise MisconfiguredError(f"{_SETTING.sub(self._option, str(error))}.") from None

    def _option(self, setting: re.Match[str]) -> str:
        """Return the option that stands behind a setting of a client, with the file that was given."""
        name, file = setting[1], getattr(self, setting[1])
        return f"--{name.replace('_', '-')}{f' {file}' if file else ''}"

    def _is_remote(self) -> bool:
        return any((self.identity, self.profile, self.segment, self.collector))

    def _running(self, service: str) -> Running:
        running = Folder(self.data_dir).running()
        if running is None:
            raise CommandError(
                f"No Sima is running in {self.data_dir}. Start one with `sima up`, or say where one is with "
                f"--{service} or SIMA_{service.upper()}_ADDRESS."
            )
        return running


def _without_token(source: str, running: Running) -> str:
    connector = running.connectors.get(source, "")
    if isinstance(connectors(plugin_manager()).get(connector), PullConnector):
        return (
            f"The source {source!r} has no `import_token` in its secrets, so nobody can send files to it. Add one in "
            "the file of sources, for example `secrets: {import_token: {value: ...}}`, and start Sima again."
        )
    return f"{source!r} is no source that takes files; there are: {', '.join(sorted(running.import_tokens)) or 'none'}."
