"""What Meta sends about comments on Instagram and Facebook: signed webhooks, in the envelope of each network."""

import hmac
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

from sima_cli.sample.delivery import Delivery, arrival
from sima_cli.sample.people import Person, Plan
from sima_cli.sample.truth import Testimony, names

INSTAGRAM, FACEBOOK = "instagram", "facebook"
#: The secret of the made-up app that Meta signs for.
APP_SECRET = "sample-meta-app-secret"  # noqa: S105 - of a made-up app
#: What Meta repeats when it subscribes.
VERIFY_TOKEN = "sample-meta-verify-token"  # noqa: S105 - of a made-up app

_ACCOUNT, _PAGE = "17841400000000001", "104000000000001"
_WORDS = (
    "Love it!",
    "Is this back in stock?",
    "ممتاز 👏",
    "متى يتوفر المقاس ٤٢؟",
    "عالی بود، ممنون",
    "سایز ۴۲ هم دارید؟",
    "Wann kommt der Schuh wieder?",
    "Sehr schön 😍",
)


def deliver(plan: Plan, person: Person) -> Iterator[Delivery]:
    """Yield what a person writes under posts and pictures."""
    chance = plan.random("social", person.number)
    for network, known in ((INSTAGRAM, person.instagram), (FACEBOOK, person.facebook_id)):
        for ordinal in range(chance.choice((1, 1, 1, 2)) if known else 0):
            at = plan.until - timedelta(days=chance.uniform(0.1, 90))
            comment = (_on_instagram if network == INSTAGRAM else _on_facebook)(person, ordinal, at, chance)
            yield _notification(network, comment, arrival(plan, at, chance), _about(network, person))


def _about(network: str, person: Person) -> Testimony:
    if network == FACEBOOK:
        return Testimony(person.number, names(user_id=f"facebook:{person.facebook_id}"))
    user, handle = f"instagram:{person.instagram_id}", f"instagram:{person.instagram}"
    return Testimony(person.number, names(user_id=user, social_handle=handle))


def _notification(source: str, payload: dict[str, Any], at: datetime, about: Testimony) -> Delivery:
    """Return a payload as Meta would send it: everything beyond ASCII escaped, and signed as it is sent."""
    body = json.dumps(payload).encode()
    signature = hmac.digest(APP_SECRET.encode(), body, "sha256").hex()
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={signature}"}
    return Delivery(source, body, at, about, headers)


def _on_instagram(person: Person, ordinal: int, at: datetime, chance: Random) -> dict[str, Any]:
    comment = {
        "from": {"id": str(person.instagram_id), "username": person.instagram},
        "media": {"id": f"1799{chance.randint(1, 40):08d}", "media_product_type": "FEED"},
        "id": f"1788{person.number:08d}{ordinal}",
        "text": chance.choice(_WORDS),
    }
    change = {"field": "comments", "value": comment}
    return {"object": "instagram", "entry": [{"id": _ACCOUNT, "time": int(at.timestamp()), "changes": [change]}]}


def _on_facebook(person: Person, ordinal: int, at: datetime, chance: Random) -> dict[str, Any]:
    post = f"{_PAGE}_{chance.randint(1, 40):06d}"
    comment = {
        "item": "comment",
        "verb": "add",
        "post_id": post,
        "comment_id": f"{post}_{person.number:06d}{ordinal}",
        "parent_id": post,
        "from": {"id": str(person.facebook_id), "name": person.full_name},
        "message": chance.choice(_WORDS),
        "created_time": int(at.timestamp()),
    }
    change = {"field": "feed", "value": comment}
    return {"object": "page", "entry": [{"id": _PAGE, "time": int(at.timestamp()), "changes": [change]}]}
