"""Calls of one service: in one workspace, and lists read page by page."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from grpc.aio import UnaryStreamMultiCallable, UnaryUnaryMultiCallable
from sima_runtime.clients import ServiceClient

_LARGEST_PAGE = 1_000

#: How long a call takes at most, in seconds, that may have to look at millions of edges.
PATIENCE_SECONDS = 3_600.0

Stub = TypeVar("Stub")
Request = TypeVar("Request")
Response = TypeVar("Response")
Item = TypeVar("Item")


class _PagedRequest(Protocol):
    page_size: int
    page_token: str


class _PagedResponse(Protocol):
    next_page_token: str


PagedRequest = TypeVar("PagedRequest", bound=_PagedRequest)
PagedResponse = TypeVar("PagedResponse", bound=_PagedResponse)


@dataclass(frozen=True, slots=True)
class Calls(Generic[Stub]):
    """A stub with the client that knows deadlines and errors; every method raises SimaError as the client does."""

    client: ServiceClient
    stub: Stub
    workspace: str | None

    async def call(
        self, method: UnaryUnaryMultiCallable[Request, Response], request: Request, deadline: float | None = None
    ) -> Response:
        """Call a method of the stub and return its answer, within `deadline` seconds if they are given."""
        return await self.client.call(method, request, workspace=self.workspace, deadline=deadline)

    def stream(
        self, method: UnaryStreamMultiCallable[Request, Response], request: Request, deadline: float | None = None
    ) -> AsyncIterator[Response]:
        """Call a method of the stub and yield its answers, for at most `deadline` seconds if they are given."""
        return self.client.stream(method, request, workspace=self.workspace, deadline=deadline)

    async def pages(
        self,
        method: UnaryUnaryMultiCallable[PagedRequest, PagedResponse],
        request: PagedRequest,
        items: Callable[[PagedResponse], Iterable[Item]],
        limit: int | None = None,
    ) -> list[Item]:
        """Return the items of all pages of a list, or the first `limit` of them."""
        found: list[Item] = []
        while True:
            request.page_size = _LARGEST_PAGE if limit is None else min(limit - len(found), _LARGEST_PAGE)
            answer = await self.call(method, request)
            found += items(answer)
            request.page_token = answer.next_page_token
            if not request.page_token or (limit is not None and len(found) >= limit):
                return found
