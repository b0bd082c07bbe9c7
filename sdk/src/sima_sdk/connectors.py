"""Base classes of connectors. A connector turns what a channel sends into facts; it is plain synchronous Python."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sima_sdk.errors import FixConfigurationError
from sima_sdk.facts import Fact

#: The family of options whose names go on with a kind of identifier.
_KINDS = "identifier."


@dataclass(frozen=True, slots=True)
class Source:
    """One configured use of a connector, for example one shop.

    Attributes:
        name: The name under which its facts are stored.
        secrets: Secrets that the channel shares with us, by purpose (each connector documents which).
        default_region: Two-letter region in which local phone numbers are read.
        options: The connector's own settings, by name (each connector documents which).
    """

    name: str
    secrets: Mapping[str, str] = field(default_factory=dict)
    default_region: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def secret(self, purpose: str) -> str:
        """Return a secret that the connector cannot do without.

        Raises:
            FixConfigurationError: The source has no such secret.
        """
        if not self.secrets.get(purpose):
            raise FixConfigurationError(f"source {self.name}: expected a secret {purpose}")
        return self.secrets[purpose]


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request; header names are in lower case; `path` is what follows the source's own prefix."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """The HTTP answer that the channel expects once the facts are durable.

    Attributes:
        status: The HTTP status.
        body: The body.
        content_type: What the body is.
        headers: Further headers.
        report: The body is a JSON object, to which the collector adds `result`: how many facts were `accepted`,
            `duplicates`, `conflicts`, `buffered`, `trimmed` and `refused`, and a list `refusals` of `message_id` and
            `reason`.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    report: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A part of a payload that is no fact; it is stored with its raw bytes and never dropped."""

    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Reception:
    """What came out of one request or one page of a pull."""

    facts: tuple[Fact, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    response: Response = field(default_factory=Response)


@dataclass(frozen=True, slots=True)
class Route:
    """A method and path that a push connector answers, below its source's prefix."""

    method: str
    path: str = ""


class PushConnector(ABC):
    """A channel that calls us."""

    #: Name of the connector, as configured in sources.
    name: str
    #: Options that its sources may have; one that ends with a point stands for all that begin so. None: any at all.
    #: What follows `identifier.` must be a known kind of identifier.
    options: tuple[str, ...] | None = None
    #: What it answers.
    routes: tuple[Route, ...]

    def check(self, source: Source) -> None:  # noqa: B027 - most connectors take any source
        """Complain about a source that cannot work; called once for each source, at start-up.

        Raises:
            FixConfigurationError: A secret or option is missing or wrong; the text names it, never its value.
        """

    @abstractmethod
    def receive(self, request: Request, source: Source) -> Reception:
        """Verify and parse one request.

        Raises:
            SignatureError: The request does not prove where it comes from.
            PayloadError: The body is not what the channel sends.
        """


@dataclass(frozen=True, slots=True)
class Page:
    """Some facts of a pull; once they are durable, `checkpoint` is stored and the pull can go on from there.

    The time that a page may take is limited. Who needs longer to find the place behind a checkpoint yields empty pages
    with that checkpoint meanwhile.
    """

    facts: tuple[Fact, ...]
    refusals: tuple[Refusal, ...] = ()
    checkpoint: str = ""


class PullConnector(ABC):
    """A channel that we read, for example a file."""

    #: Name of the connector, as configured in sources.
    name: str
    #: Options that its sources may have; one that ends with a point stands for all that begin so. None: any at all.
    #: What follows `identifier.` must be a known kind of identifier.
    options: tuple[str, ...] | None = None

    def check(self, source: Source) -> None:  # noqa: B027 - most connectors take any source
        """Complain about a source that cannot work; called once for each source, at start-up.

        Raises:
            FixConfigurationError: A secret or option is missing or wrong; the text names it, never its value.
        """

    @abstractmethod
    def pull(self, source: Source, file: Path, checkpoint: str = "") -> Iterator[Page]:
        """Yield the facts of a file in pages of at most 1,000, going on behind `checkpoint`.

        Raises:
            PayloadError: The file as a whole is not what the connector reads.
        """


Connector = PushConnector | PullConnector


def check_options(connector: Connector, source: Source) -> None:
    """Complain about options that a connector does not have, which are mostly misspelt; done before its own `check`.

    Raises:
        FixConfigurationError: There is one; the text names it, and those that there are.
    """
    if connector.options is None:
        return
    families = tuple(name for name in connector.options if name.endswith("."))
    for option in source.options:
        if option not in connector.options and not option.startswith(families):
            known = ", ".join(f"{name}*" if name in families else name for name in connector.options)
            raise FixConfigurationError(f"source {source.name}, option {option}: expected {known or 'no option'}")


def check_kinds(connector: Connector, source: Source, kinds: Collection[str]) -> None:
    """Complain about options of the family `identifier.` that name no known kind of identifier.

    Raises:
        FixConfigurationError: There is one; the text names it, and the kinds that there are.
    """
    if _KINDS not in (connector.options or ()):
        return
    for option in source.options:
        if option.startswith(_KINDS) and option.removeprefix(_KINDS) not in kinds:
            known = ", ".join(sorted(kinds))
            raise FixConfigurationError(
                f"source {source.name}, option {option}: expected a kind of identifier: {known}"
            )
