"""Shopify's webhooks: https://shopify.dev/docs/api/webhooks. Secret of a source: `webhook`, by which the shop signs."""

from base64 import b64encode
from collections.abc import Callable, Iterable

from sima_sdk import Fact, PushConnector, Reception, Refusal, Request, Route, Source
from sima_sdk.payload import Fields, parse_object
from sima_sdk.signatures import check_proof, hmac_sha256

from sima_plugin_pos import customers, orders

#: From a topic to the function that reads its body; it also gets the shop's domain and the topic's own word.
TOPICS: dict[str, Callable[[Fields, str, str], Iterable[Fact]]] = {
    "orders/create": orders.created,
    "orders/updated": orders.updated,
    "orders/edited": orders.edited,
    "orders/paid": orders.updated,
    "orders/fulfilled": orders.updated,
    "orders/partially_fulfilled": orders.updated,
    "orders/cancelled": orders.cancelled,
    "refunds/create": orders.refunded,
    "checkouts/create": orders.checkout_started,
    "checkouts/update": orders.checkout_updated,
    "customers/create": customers.stated,
    "customers/update": customers.stated,
}
#: Why what names nobody is refused.
NOBODY = "customer: expected an account, e-mail address or phone number"
#: Why a topic that never names a customer is refused: where what it says is taken from instead.
TOLD_ELSEWHERE = {
    "orders/edited": "customer: expected one, whom an edit does not name; the edited order comes in orders/updated",
    "refunds/create": "customer: expected one, whom a refund does not name; it comes with its order in orders/updated",
}
SIGNATURE = "x-shopify-hmac-sha256"


class ShopifyConnector(PushConnector):
    """What a shop reports about its orders, checkouts and customers."""

    name = "shopify"
    options = ()
    routes = (Route("POST"),)

    def check(self, source: Source) -> None:
        """Require the secret."""
        source.secret("webhook")

    def receive(self, request: Request, source: Source) -> Reception:
        """Read one webhook.

        What is well-formed but about nobody we could name is refused with a good answer, for Shopify would send it
        again and, after some failures, stop sending anything.
        """
        signature = b64encode(hmac_sha256(source.secret("webhook"), request.body)).decode()
        check_proof(request.headers.get(SIGNATURE), signature, f"header {SIGNATURE}")
        topic = request.headers.get("x-shopify-topic", "")
        if topic not in TOPICS:
            return _refused(request, f"header x-shopify-topic: expected one of {', '.join(TOPICS)}")
        shop = request.headers.get("x-shopify-shop-domain", "")
        facts = tuple(TOPICS[topic](parse_object(request.body), shop, topic.partition("/")[2]))
        if not any(fact.identifiers for fact in facts):
            return _refused(request, TOLD_ELSEWHERE.get(topic, NOBODY))
        return Reception(facts)


def _refused(request: Request, reason: str) -> Reception:
    return Reception(refusals=(Refusal(reason, request.body),))
