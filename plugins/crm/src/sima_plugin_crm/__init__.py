"""CRM contacts for Sima, from CSV (`contacts`)."""

from collections.abc import Sequence

from sima_sdk import Connector, hookimpl

from sima_plugin_crm.contacts import ContactsConnector


@hookimpl
def register_connectors() -> Sequence[Connector]:
    """Bring the connector `contacts`."""
    return [ContactsConnector()]
