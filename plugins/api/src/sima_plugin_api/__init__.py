"""Sima's own HTTP API for servers (`api`): facts in batches."""

from collections.abc import Sequence

from sima_sdk import Connector, hookimpl

from sima_plugin_api.batches import ApiConnector


@hookimpl
def register_connectors() -> Sequence[Connector]:
    """Bring the connector `api`."""
    return [ApiConnector()]
