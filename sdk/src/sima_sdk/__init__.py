"""All that a connector or rule plugin for Sima needs."""

from sima_sdk.connectors import (
    Connector,
    Page,
    PullConnector,
    PushConnector,
    Reception,
    Refusal,
    Request,
    Response,
    Route,
    Source,
)
from sima_sdk.errors import (
    FixConfigurationError,
    InvalidIdentifierError,
    PayloadError,
    RefuseRequestError,
    RefuseValueError,
    SignatureError,
    SimaError,
)
from sima_sdk.facts import Consent, Event, Fact, Identifier, Method, Trait, TraitValue
from sima_sdk.hookspecs import hookimpl
from sima_sdk.identifiers import BUILT_IN_KINDS, IdentifierKind, IdentifierKinds, identifier_key
from sima_sdk.plugins import LoadedPlugin, plugin_manager
from sima_sdk.rules import Argument, SegmentFunction
from sima_sdk.text import fold

__all__ = [
    "BUILT_IN_KINDS",
    "Argument",
    "Connector",
    "Consent",
    "Event",
    "Fact",
    "FixConfigurationError",
    "Identifier",
    "IdentifierKind",
    "IdentifierKinds",
    "InvalidIdentifierError",
    "LoadedPlugin",
    "Method",
    "Page",
    "PayloadError",
    "PullConnector",
    "PushConnector",
    "Reception",
    "Refusal",
    "RefuseRequestError",
    "RefuseValueError",
    "Request",
    "Response",
    "Route",
    "SegmentFunction",
    "SignatureError",
    "SimaError",
    "Source",
    "Trait",
    "TraitValue",
    "fold",
    "hookimpl",
    "identifier_key",
    "plugin_manager",
]
