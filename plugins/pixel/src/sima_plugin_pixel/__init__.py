"""Sima's tracking pixel (`pixel`): page views, what a page reports, and opened e-mails."""

from collections.abc import Sequence

from sima_sdk import Connector, hookimpl

from sima_plugin_pixel.pixel import PixelConnector


@hookimpl
def register_connectors() -> Sequence[Connector]:
    """Bring the connector `pixel`."""
    return [PixelConnector()]
