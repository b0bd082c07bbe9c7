"""The way of one payload: to a worker and to the keeper; the answer waits until all that came of it is durable."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sima_sdk.connectors import Request, Response

from sima_collector.errors import MethodMissingError, PayloadRejectedError, RouteMissingError, Verdict
from sima_collector.facts import ConfiguredSource, Refused, Report
from sima_collector.keeper import Keeper
from sima_collector.messages import Catalogue, Rejected
from sima_collector.workers import WorkerPool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a channel is answered, and what became of its facts."""

    response: Response
    report: Report


class Intake:
    """Takes requests to push connectors."""

    def __init__(self, sources: Mapping[str, ConfiguredSource], pool: WorkerPool, keeper: Keeper) -> None:
        self._sources, self._pool, self._keeper = sources, pool, keeper

    def route(self, name: str, method: str, path: str) -> tuple[ConfiguredSource, str]:
        """Find who answers a request; returns the source, and the path as its connector wrote it.

        Args:
            name: The source that the address names.
            method: The method of the request.
            path: The rest of the address.

        Raises:
            RouteMissingError: There is no such source, or its connector has no such path.
            MethodMissingError: The connector answers other methods at this path.
        """
        configured = self._sources.get(name)
        if configured is None:
            raise RouteMissingError("expected the name of a configured source")
        routes = _push_routes(self._pool.catalogue, configured)
        found = {route_method: route for route_method, route in routes if route.strip("/") == path.strip("/")}
        if not found:
            raise RouteMissingError("expected an address that the source's connector answers")
        if method not in found:
            raise MethodMissingError(found)
        return configured, found[method]

    async def take(self, configured: ConfiguredSource, request: Request) -> Answer:
        """Parse a payload and make everything durable that came of it.

        Raises:
            PayloadRejectedError: The connector refused the payload; unless for its signature, it is stored.
            OverloadedError: There is no room for it at the moment; the same payload may come again.
        """
        outcome = await self._pool.parse(configured.name, request)
        if isinstance(outcome, Rejected):
            # What does not prove where it comes from is not stored: else anybody could fill the disk.
            if outcome.verdict is not Verdict.DENIED:
                refused = Refused(configured.workspace, configured.name, outcome.reason, request.body)
                await self._keeper.refuse([refused])
            raise PayloadRejectedError(outcome.verdict, outcome.reason)
        report = await self._keeper.keep(outcome)
        return Answer(_with_report(outcome.response, report), report)


def _with_report(response: Response, report: Report) -> Response:
    """Add to the answer what became of the facts, if its connector wants that."""
    if not response.report:
        return response
    refusals = [{"message_id": one.message_id, "reason": one.reason} for one in report.refused]
    body = {**json.loads(response.body), "result": {**report.counts(), "refusals": refusals}}
    return replace(response, body=json.dumps(body).encode())


def _push_routes(catalogue: Catalogue, configured: ConfiguredSource) -> Iterable[tuple[str, str]]:
    return catalogue.connectors[configured.connector].routes or ()
