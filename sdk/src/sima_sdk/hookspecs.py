"""Every hook of the plugin API. Hooks only register, once, at start-up; classes do the work."""

from collections.abc import Sequence

import pluggy

from sima_sdk.connectors import Connector
from sima_sdk.identifiers import IdentifierKind
from sima_sdk.rules import SegmentFunction

hookspec = pluggy.HookspecMarker("sima")
hookimpl = pluggy.HookimplMarker("sima")


@hookspec
def register_connectors() -> Sequence[Connector]:  # type: ignore[empty-body]
    """Return the connectors that this plugin brings; called once by the collector."""


@hookspec
def register_segment_functions() -> Sequence[SegmentFunction]:  # type: ignore[empty-body]
    """Return the functions that this plugin adds to the rule language; called once by the segment service."""


@hookspec
def register_identifier_kinds() -> Sequence[IdentifierKind]:  # type: ignore[empty-body]
    """Return the identifier kinds that this plugin adds; called once by collector, profile and identity."""
