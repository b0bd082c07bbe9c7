"""The pixel's script in a real browser, against the connector behind a real HTTP server."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext
from sima_collector.problems import problem
from sima_plugin_pixel.pixel import PixelConnector
from sima_runtime.errors import InvalidFieldsError, OverloadedError, SimaError, Violation
from sima_sdk import Fact, Request, Source

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.xdist_group("browser"),  # one worker: two cannot have a browser installed at the same time
]

PAGE = """<!doctype html><title>Shoes</title><meta name="sima:category" content="running">
<script>
  window.sima = window.sima || [];
  sima.push(["track", "product_viewed", {"sku": "RUN-101", "price": 119}]);
</script>
<script src="http://localhost:{port}/in/web/sima.js"></script><a href="/cart">Cart</a>"""


class Site:
    """A shop with the pixel on every page; the collector is of another origin.

    `facts` is what the connector made of what the browser sent, `posts` is how often it sent something, and `failures`
    are what it is answered first.
    """

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.posts = 0
        self.failures: list[SimaError] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def named(self, name: str) -> list[Fact]:
        """The events of a name, in the order of arrival."""
        return [fact for fact in self.facts if fact.event and fact.event.name == name]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self, b"")

            def do_POST(self) -> None:
                site.posts += 1
                site.answer(self, self.rfile.read(int(self.headers["content-length"])))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        return Handler

    def answer(self, call: BaseHTTPRequestHandler, body: bytes) -> None:
        """Let the connector answer below /in/web, and show the page everywhere else."""
        url = urlsplit(call.path)
        if not url.path.startswith("/in/web/"):
            page = PAGE.replace("{port}", str(self._server.server_address[1]))
            return self._send(call, 200, "text/html; charset=utf-8", page.encode(), {})
        if call.command == "POST" and self.failures:
            failed = problem(self.failures.pop(0))
            return self._send(call, failed.status_code, "text/plain", b"", dict(failed.headers))
        request = Request(
            method=call.command,
            path=url.path.removeprefix("/in/web"),
            headers={name.lower(): value for name, value in call.headers.items()},
            query=dict(parse_qsl(url.query)),
            body=body,
        )
        reception = PixelConnector().receive(request, Source("web"))
        assert reception.refusals == ()
        self.facts.extend(reception.facts)
        response = reception.response
        return self._send(call, response.status, response.content_type, response.body, dict(response.headers))

    @staticmethod
    def _send(call: BaseHTTPRequestHandler, status: int, kind: str, body: bytes, headers: dict[str, str]) -> None:
        call.send_response(status)
        for name, value in {**headers, "content-type": kind, "content-length": str(len(body))}.items():
            call.send_header(name, value)
        call.end_headers()
        if status != 204:
            call.wfile.write(body)


@pytest.fixture
def site() -> Iterator[Site]:
    """A site of its own."""
    site = Site()
    yield site
    site.close()


@asynccontextmanager
async def visitor(browser: Browser, **how: object) -> AsyncIterator[BrowserContext]:
    """Somebody with cookies of their own."""
    context = await browser.new_context(**how)  # type: ignore[arg-type]
    yield context
    await context.close()


async def until(condition: Callable[[], object], context: BrowserContext) -> None:
    """Give what was sent a moment to arrive."""
    page = context.pages[0] if context.pages else await context.new_page()
    for _ in range(600):
        if condition():
            return
        await page.wait_for_timeout(50)
    raise AssertionError("nothing arrived within half a minute")


def anonymous(fact: Fact) -> str:
    """The visitor's own id."""
    return next(name.value for name in fact.identifiers if name.kind == "anonymous_id")


async def test_leaving_a_page_reports_it_with_the_time_spent(site: Site, browser: Browser) -> None:
    """Each page view arrives once, when the page is left, with its address, title and seconds."""
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.goto(f"{site.url}/shoes?secret=1&utm_source=mail")
        await page.wait_for_timeout(300)
        await page.click("a")
        await until(lambda: site.named("page_viewed"), context)
        (view,) = site.named("page_viewed")
        assert view.event is not None
        properties = view.event.properties
        assert properties["path"] == "/shoes"
        assert properties["title"] == "Shoes"
        assert properties["category"] == "running"
        assert properties["utm_source"] == "mail"
        assert "secret" not in str(properties)
        assert properties["duration_s"] > 0.2


async def test_what_the_page_asked_before_the_script_came_is_not_lost(site: Site, browser: Browser) -> None:
    """Calls that wait for the script are made when it is there."""
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.goto(site.url)
        await page.close()
        await until(lambda: site.named("product_viewed"), context)
        (seen,) = site.named("product_viewed")
        assert seen.event is not None
        assert seen.event.properties == {"sku": "RUN-101", "price": 119}


async def test_a_bad_call_takes_no_other_along(site: Site, browser: Browser) -> None:
    """Neither what cannot be written as JSON nor a call without arguments keeps a consent from being withdrawn."""
    async with visitor(browser) as context:
        await context.add_cookies([{"name": "sima_id", "value": "%E0%A4%A", "url": site.url}])
        page = await context.new_page()
        await page.add_init_script("window.sima = [['identify'], 7, ['consent', 'ads', false]]")
        await page.goto(site.url)
        await page.evaluate("const circle = {}; circle.self = circle; sima.track('clicked', {target: circle})")
        await page.evaluate("const sku = {sku: 'A'}; sima.track('viewed', sku); sku.sku = 'B'")
        await page.evaluate("sima.consent('email', false)")
        await until(lambda: len([fact for fact in site.facts if fact.consents]) == 2, context)
        assert {fact.consents[0].purpose for fact in site.facts if fact.consents} == {"ads", "email"}
        (viewed,) = site.named("viewed")
        assert viewed.event is not None
        assert viewed.event.properties == {"sku": "A"}
        assert site.named("clicked") == []


async def test_a_bad_page_view_takes_nothing_along_when_the_page_is_hidden(site: Site, browser: Browser) -> None:
    """It may never be seen again, so all else is sent, though the view itself cannot be written."""
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.clock.install()  # nothing is sent because of the time
        await page.goto(site.url)
        await page.evaluate("const circle = {}; circle.self = circle; sima.page(circle); sima.track('clicked')")
        await page.evaluate("Object.defineProperty(document, 'visibilityState', {value: 'hidden'})")
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await until(lambda: site.named("clicked"), context)


async def test_what_a_busy_collector_does_not_take_is_sent_again(site: Site, browser: Browser) -> None:
    """Later, as it was, and once: also if the visitor has signed out in between."""
    site.failures = [OverloadedError("buffer"), OverloadedError("buffer")]
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.clock.install()
        await page.goto(site.url)
        await page.evaluate("sima.identify({user_id: '42'}, {first_name: 'Ada'})")
        await until(lambda: site.posts == 1, context)
        (before,) = [cookie for cookie in await context.cookies() if cookie["name"] == "sima_id"]
        await page.evaluate("sima.reset()")
        await until(lambda: site.posts == 2, context)
        await page.clock.fast_forward(60_000)
        await until(lambda: [fact for fact in site.facts if fact.traits], context)
        (known,) = [fact for fact in site.facts if fact.traits]
        assert anonymous(known) == before["value"]
        assert len({fact.message_id for fact in site.facts}) == len(site.facts)


async def test_what_is_tracked_without_a_network_is_sent_when_it_is_back(site: Site, browser: Browser) -> None:
    """A tunnel on the way costs no event."""
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.clock.install()
        await page.goto(site.url)
        await context.set_offline(True)
        await page.evaluate("sima.identify({user_id: '42'}, {first_name: 'Ada'})")
        await page.clock.run_for(1_000)
        assert site.posts == 0
        await context.set_offline(False)
        await page.clock.fast_forward(60_000)
        await until(lambda: [fact for fact in site.facts if fact.traits], context)


async def test_what_the_collector_refuses_is_not_sent_again(site: Site, browser: Browser) -> None:
    """It would be refused again."""
    site.failures = [InvalidFieldsError([Violation("batch", "expected events")])]
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.clock.install()
        await page.goto(site.url)
        await page.evaluate("sima.consent('ads', false)")
        await until(lambda: site.posts == 1, context)
        await page.clock.fast_forward(60_000)
        await page.wait_for_timeout(500)
        assert site.posts == 1


async def test_a_visitor_keeps_one_id_over_pages_and_visits(site: Site, browser: Browser) -> None:
    """The first-party id is made once and comes back with every event, another visitor has another."""
    ids = set()
    for _ in range(2):
        async with visitor(browser) as context:
            site.facts.clear()
            for _ in range(2):
                page = await context.new_page()
                await page.goto(site.url)
                await page.close()
            await until(lambda: len(site.named("page_viewed")) == 2, context)
            own = {anonymous(fact) for fact in site.facts}
            assert len(own) == 1
            ids |= own
    assert len(ids) == 2


async def test_who_says_who_they_are_is_known_by_it_from_then_on(site: Site, browser: Browser) -> None:
    """An identify call ties the visitor's id to the account, and later events carry both."""
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.goto(site.url)
        await page.evaluate("sima.identify({user_id: '42', email: 'ada@example.com'}, {first_name: 'Ada'})")
        await page.evaluate("sima.track('wish_added', {sku: 'RUN-7'})")
        await page.close()
        await until(lambda: site.named("wish_added"), context)
        kinds = {name.kind for fact in site.facts if fact.traits for name in fact.identifiers}
        assert kinds == {"user_id", "email", "anonymous_id"}
        assert {name.kind for name in site.named("wish_added")[0].identifiers} == {"user_id", "anonymous_id"}


async def test_only_two_cookies_are_stored_and_both_expire(site: Site, browser: Browser) -> None:
    """A random id, and after an identify call the user id, each for a year; nothing stands in another store."""
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.goto(site.url)
        await page.evaluate("sima.consent('ads', false)")
        assert [cookie["name"] for cookie in await context.cookies()] == ["sima_id"]
        await page.evaluate("sima.identify({user_id: '42'})")
        cookies = {cookie["name"]: cookie for cookie in await context.cookies()}
        assert set(cookies) == {"sima_id", "sima_user"}
        for cookie in cookies.values():
            assert cookie["expires"] - time.time() == pytest.approx(365 * 24 * 3600, abs=60)
        assert await page.evaluate("localStorage.length + sessionStorage.length") == 0


async def test_who_deletes_the_cookies_is_forgotten(site: Site, browser: Browser) -> None:
    """No copy brings a visitor's ids back."""
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.goto(site.url)
        await page.evaluate("sima.identify({user_id: '42'})")
        await until(lambda: len(site.facts) == 2, context)
        before = {anonymous(fact) for fact in site.facts}
        await context.clear_cookies()
        await page.evaluate("sima.track('wish_added', {})")
        await page.close()
        await until(lambda: site.named("wish_added"), context)
        (wish,) = site.named("wish_added")
        assert [name.kind for name in wish.identifiers] == ["anonymous_id"]
        assert anonymous(wish) not in before


async def test_who_signs_out_takes_their_page_view_along(site: Site, browser: Browser) -> None:
    """What was looked at before belongs to who signed out, what is looked at afterwards to nobody known."""
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.goto(site.url)
        await page.evaluate("sima.identify({user_id: '42'})")
        await page.wait_for_timeout(300)
        await page.evaluate("sima.reset()")
        await page.close()
        await until(lambda: len(site.named("page_viewed")) == 2, context)
        before, after = site.named("page_viewed")
        assert {name.kind for name in before.identifiers} == {"user_id", "anonymous_id"}
        assert [name.kind for name in after.identifiers] == ["anonymous_id"]
        assert anonymous(before) != anonymous(after)
        assert before.event is not None
        assert before.event.properties["duration_s"] > 0.2
        assert len({anonymous(fact) for fact in site.facts}) == 2


@pytest.mark.parametrize(
    "wish",
    [
        "Object.defineProperty(navigator, 'doNotTrack', {value: '1'})",
        "Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})",
    ],
)
async def test_who_does_not_want_to_be_followed_is_not(site: Site, browser: Browser, wish: str) -> None:
    """With Do Not Track or Global Privacy Control nothing is sent and nothing is stored."""
    async with visitor(browser) as context:
        await context.add_init_script(wish)
        page = await context.new_page()
        await page.goto(site.url)
        await page.evaluate("sima.track('wish_added', {})")
        await page.click("a")
        await page.wait_for_timeout(500)
        assert site.posts == 0
        assert await context.cookies() == []
        assert await page.evaluate("localStorage.length") == 0
