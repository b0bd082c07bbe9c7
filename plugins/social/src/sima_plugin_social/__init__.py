"""Facebook and Instagram for Sima: comments and messages, by Meta's webhooks (`meta`)."""

from collections.abc import Sequence

from sima_sdk import Connector, hookimpl

from sima_plugin_social.meta import MetaConnector


@hookimpl
def register_connectors() -> Sequence[Connector]:
    """Bring the connector `meta`."""
    return [MetaConnector()]
