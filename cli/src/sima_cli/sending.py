"""Sends the requests of a sample to the collector: many at once, each again when the collector asks for it."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from sima_cli.errors import CommandError, UnreachableError
from sima_cli.imports import OUTCOMES
from sima_cli.sample.delivery import Delivery

AT_ONCE = 192
_TRIES = 20
_BUSY = 503

#: Called with the source of each request that was answered.
OnSent = Callable[[str], None]


class Sender:
    """Sends through connections that stay open, one per thread."""

    def __init__(self, collector: str) -> None:
        """Send to a collector by its address, `http://host:port`."""
        self._netloc = urlsplit(collector).netloc
        self._own = threading.local()
        self._stopped = threading.Event()

    def send_all(self, deliveries: Iterable[Delivery], on_sent: OnSent) -> Counter[str]:
        """Send deliveries, begun in their order, and return what became of their facts.

        Raises:
            CommandError: The collector refused one, or asked too often to try again.
            UnreachableError: The collector does not answer.
        """
        totals: Counter[str] = Counter()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="channel") as pool:
            try:
                for delivery, counts in pool.map(self._one, deliveries):
                    totals.update(counts)
                    on_sent(delivery.source)
            finally:
                self.stop()
        return totals

    def stop(self) -> None:
        """Leave unsent what waits."""
        self._stopped.set()

    def send(self, delivery: Delivery) -> Counter[str]:
        """Send one delivery and return what became of its facts; raises as `send_all` does."""
        for _ in range(_TRIES):
            answer, body = self._request(delivery)
            if answer.status != _BUSY:
                return _counted(delivery, answer, body)
            time.sleep(float(answer.headers.get("Retry-After", "1")))
        raise CommandError(f"The collector had no room for {delivery.source} after {_TRIES} tries.")

    def _one(self, delivery: Delivery) -> tuple[Delivery, Counter[str]]:
        return delivery, Counter() if self._stopped.is_set() else self.send(delivery)

    def _request(self, delivery: Delivery) -> tuple[http.client.HTTPResponse, bytes]:
        path = f"/in/{delivery.source}{delivery.path}"
        try:
            connection = self._connection()
            connection.request(delivery.method, path, delivery.body, dict(delivery.headers))
            answer = connection.getresponse()
            return answer, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"The collector does not answer ({type(error).__name__}).") from None

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection(self._netloc, timeout=60)
        connection: http.client.HTTPConnection = self._own.connection
        return connection


def _counted(delivery: Delivery, answer: http.client.HTTPResponse, body: bytes) -> Counter[str]:
    if answer.status >= http.client.BAD_REQUEST:
        reason = body.decode(errors="replace")
        raise CommandError(f"The collector answered {answer.status} to {delivery.source}: {reason}")
    return Counter({outcome: int(answer.headers.get(f"Sima-{outcome}", "0")) for outcome in OUTCOMES})
