"""The pictures of the docs show what identity says, drawn as `sima identity graph --svg` draws it."""

import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sima.identity.v1 import identity_service_pb2 as pb
from sima_cli.graphs.folding import fold
from sima_cli.graphs.model import read
from sima_cli.graphs.svg import draw

from .conftest import Named, Replica, Sighted

DOCS = Path(__file__).parents[2] / "docs"
DRAW = "SIMA_DRAW_PICTURES"  # set to anything, the pictures are drawn anew rather than compared
LARGEST = 25  # as the command draws without --limit

ADA, BEN = Named("email", "ada@example.com"), Named("email", "ben@example.com")
CARD, PHONE = Named("loyalty_card", "4711"), Named("phone", "+4915127046318")
COOKIE, TABLET = Named("anonymous_id", "c-17"), Named("device_id", "tablet-1")
INES, OMAR = Named("email", "ines@example.com"), Named("email", "omar@example.com")
INES_ID, OMAR_ID = Named("user_id", "hubspot:11"), Named("user_id", "hubspot:12")


def sighted(source: str, message_id: str, *names: Named) -> Sighted:
    """What one message shows."""
    return Sighted(names, source=source, message_id=message_id)


async def one_person(identity: Replica, workspace: str) -> pb.GetProfileGraphResponse:
    """Strong evidence makes a person, and a cookie follows her."""
    sets = [sighted("shop", "order-1", ADA, CARD), sighted("till", "receipt-9", CARD, PHONE)]
    await identity.resolve(workspace, [*sets, sighted("web", "page-3", ADA, COOKIE)])
    return await identity.graph(workspace, ADA)


async def shared_tablet(identity: Replica, workspace: str) -> pb.GetProfileGraphResponse:
    """Two people use one tablet: it is nobody's, and the cookie of one of them stays hers."""
    sets = [sighted("app", "start-1", ADA, TABLET), sighted("app", "start-2", BEN, TABLET)]
    await identity.resolve(workspace, [*sets, sighted("web", "page-3", ADA, COOKIE)])
    return await identity.graph(workspace, ADA)


async def junk(identity: Replica, workspace: str) -> pb.GetProfileGraphResponse:
    """An office's address stands in the records of two customers, and joins nobody."""
    office = Named("email", "info@shop.example.com")
    await identity.resolve(workspace, [sighted("crm", "contact-11", INES_ID, PHONE, office)])
    await identity.resolve(workspace, [sighted("crm", "contact-12", OMAR_ID, office)])
    return await identity.graph(workspace, INES_ID)


async def hub(identity: Replica, workspace: str) -> pb.GetProfileGraphResponse:
    """The telephone of a shop was given by thirty customers."""
    others = [Named("user_id", f"customer-{number}") for number in range(2, 32)]
    await identity.resolve(workspace, [sighted("till", f"receipt-{one.value}", one, PHONE) for one in others])
    await identity.resolve(workspace, [sighted("till", "receipt-1", Named("user_id", "customer-1"), ADA, PHONE)])
    return await identity.graph(workspace, ADA)


async def merged(identity: Replica, workspace: str) -> pb.GetProfileGraphResponse:
    """The card of one was typed into the record of another."""
    await identity.resolve(workspace, [sighted("crm", "contact-11", INES_ID, CARD, INES, PHONE)])
    await identity.resolve(workspace, [sighted("crm", "contact-12", OMAR_ID, CARD, OMAR)])
    return await identity.graph(workspace, OMAR)


async def split(identity: Replica, workspace: str) -> pb.GetProfileGraphResponse:
    """Somebody decided that they are two."""
    await merged(identity, workspace)
    reason = "card 4711 was typed into the wrong record"
    named = {"actor": "service-desk", "reason": reason, "request_id": "case-1"}
    await identity.split(workspace, [OMAR, OMAR_ID], [INES, INES_ID, CARD, PHONE], **named)
    return await identity.graph(workspace, OMAR)


Story = Callable[[Replica, str], Awaitable[pb.GetProfileGraphResponse]]
STORIES: list[Story] = [one_person, shared_tablet, junk, hub, merged, split]


def drawn(answer: pb.GetProfileGraphResponse) -> str:
    """The picture, as of a day that stays the same, and with ids that do not depend on an installation's secret."""
    for decision in answer.decisions:
        decision.decided_at.FromJsonString("2026-01-05T09:00:00Z")
    ids: dict[str, str] = {}
    picture = draw(*fold(read(answer), LARGEST))
    return re.sub(r"\b[0-9a-f]{32}\b", lambda found: ids.setdefault(found[0], f"{len(ids) + 1:x}" * 32), picture)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__.replace("_", "-"))
async def test_a_picture_of_the_docs_is_what_identity_says(identity: Replica, workspace: str, story: Story) -> None:
    """The real service, asked again, and drawn by the real command's code."""
    file = DOCS / "pictures" / f"{story.__name__.replace('_', '-')}.svg"
    picture = drawn(await story(identity, workspace))
    if DRAW in os.environ:
        file.write_text(picture, encoding="utf-8")
    assert picture == file.read_text(encoding="utf-8"), f"drawn otherwise now; {DRAW}=1 draws it anew"


def test_every_picture_is_shown_and_has_its_words() -> None:
    """None is left over, and each link to one says what is to be seen."""
    shown = [
        found for page in DOCS.glob("*.md") for found in re.findall(r"!\[([^]]*)\]\(pictures/(.+?)\)", page.read_text())
    ]
    assert {name for _, name in shown} == {file.name for file in (DOCS / "pictures").iterdir()}
    assert all(len(words) > 20 for words, _ in shown)
