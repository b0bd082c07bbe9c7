"""Point of sale for Sima: Shopify webhooks (`shopify`) and files of transactions (`transactions`)."""

from collections.abc import Sequence

from sima_sdk import Connector, hookimpl

from sima_plugin_pos.shopify import ShopifyConnector
from sima_plugin_pos.transactions import TransactionsConnector


@hookimpl
def register_connectors() -> Sequence[Connector]:
    """Bring the connectors `shopify` and `transactions`."""
    return [ShopifyConnector(), TransactionsConnector()]
