"""What one notification of Meta holds: comments, mentions and messages, each with its network and its account."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sima_sdk import Event, Fact, Method, PayloadError
from sima_sdk.facts import identifiers, traits
from sima_sdk.payload import Fields, present

#: The network of each object that Meta notifies about.
NETWORKS = {"instagram": "instagram", "page": "facebook"}
#: What happened to a comment, by Facebook's verb; Instagram reports new ones only.
COMMENT_EVENTS = {
    "add": "comment_posted",
    "edit": "comment_edited",
    "edited": "comment_edited",
    "remove": "comment_removed",
}
_EARLIEST_MILLISECONDS = 100_000_000_000  # 1973; as seconds it would be the year 5138


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that happened.

    Attributes:
        object: What the notification is about, for example `page`.
        entry: The part of the notification that holds the item: which account, and when it was sent.
        shape: In which list of the entry the item stands: `changes`, `messaging`, `standby`; or nothing.
        content: The item itself.
    """

    object: str
    entry: Fields
    shape: str
    content: Fields

    def fact(self) -> Fact:
        """Read it.

        Raises:
            PayloadError: It is nothing that a person did and that we know, or it does not say who did it.
        """
        network = NETWORKS.get(self.object)
        if network is None:
            raise PayloadError(f"object: expected one of {', '.join(NETWORKS)}")
        if self.shape in ("messaging", "standby"):
            return _message(network, self.entry, self.content)
        field, value = self.content.text("field"), self.content.object("value")
        if field == "messages":
            return _message(network, self.entry, value)
        if field in ("comments", "live_comments", "mentions"):
            return _remark(network, self.entry, value, "comment_posted" if field != "mentions" else "account_mentioned")
        if field == "feed" and value.text("item") == "comment":
            return _feed_comment(network, self.entry, value)
        raise PayloadError("field: expected comments, live_comments, mentions, messages, or feed with item comment")

    def raw(self) -> dict[str, Any]:
        """Return a notification that holds this item only."""
        if not self.shape:
            return {"object": self.object, "entry": [self.entry.json()]}
        about = {name: self.entry.json().get(name) for name in ("id", "time")}
        return {"object": self.object, "entry": [about | {self.shape: [self.content.json()]}]}


def items_of(notification: Fields) -> Iterator[Item]:
    """Yield what a notification holds, in all shapes that Meta sends: a list of changes, one change laid directly into
    the entry, messages to us, and messages that another app answers.
    """
    about = notification.require(notification.text, "object")
    for entry in notification.objects("entry"):
        shapes = [shape for shape in ("changes", "messaging", "standby") if shape in entry]
        for shape in shapes:
            yield from (Item(about, entry, shape, content) for content in entry.objects(shape))
        if not shapes:
            yield Item(about, entry, "", entry)


def _remark(network: str, entry: Fields, value: Fields, name: str) -> Fact:
    """Read a comment or mention as Instagram reports it."""
    number = value.reference("id") or value.reference("comment_id") or value.require(value.reference, "media_id")
    properties = present(
        network=network,
        account=entry.reference("id"),
        comment_id=number,
        media_id=value.object("media").reference("id") or value.reference("media_id"),
        parent_id=value.reference("parent_id"),
        text=value.text("text"),
    )
    at = value.time("timestamp") or _time(entry, "time")
    return _by_author(network, entry, value, Fact(f"{name}:{number}", (), at, Event(name, properties)))


def _feed_comment(network: str, entry: Fields, value: Fields) -> Fact:
    """Read a comment as Facebook reports it among all that happens on a page."""
    verb = value.require(value.text, "verb")
    if verb not in COMMENT_EVENTS:
        raise PayloadError(f"{value.where('verb')}: expected one of {', '.join(COMMENT_EVENTS)}")
    number = value.require(value.reference, "comment_id")
    properties = present(
        network=network,
        account=entry.reference("id"),
        comment_id=number,
        post_id=value.reference("post_id"),
        parent_id=value.reference("parent_id"),
        text=value.text("message"),
    )
    posted = verb == "add"
    at = value.unix_time("created_time") if posted else _time(entry, "time")
    message_id = f"comment:{number}" if posted else f"comment:{number}:{verb}:{at.isoformat() if at else ''}"
    return _by_author(network, entry, value, Fact(message_id, (), at, Event(COMMENT_EVENTS[verb], properties)))


def _by_author(network: str, entry: Fields, value: Fields, fact: Fact) -> Fact:
    author = value.object("from")
    number = author.reference("id")
    username = author.text("username") or value.text("username")
    if number is None and username is None:
        raise PayloadError(f"{value.where('from')}: expected an author")
    if number is not None and number == entry.reference("id"):
        raise PayloadError(f"{value.where('from')}: expected somebody other than the account itself")
    who = identifiers(
        ("user_id", number and f"{network}:{number}"), ("social_handle", username and f"{network}:{username}")
    )
    known = traits(Method.OBSERVED, name=author.text("name"))
    return Fact(fact.message_id, who, fact.occurred_at, fact.event, known)


def _message(network: str, entry: Fields, value: Fields) -> Fact:
    """Read a message to the account, or that it was taken back, which is another event at another time."""
    message = value.object("message")
    number = message.reference("mid")
    if number is None or message.flag("is_echo"):
        raise PayloadError(f"{value.where('message')}: expected a message that somebody wrote to the account")
    sender = value.object("sender")
    about = present(network=network, account=entry.reference("id"))
    message_id, event = f"message:{number}", Event("message_received", about | _contents(message))
    if message.flag("is_deleted"):
        message_id, event = f"{message_id}:removed", Event("message_removed", about | {"message_id": number})
    return Fact(
        message_id,
        identifiers(("user_id", f"{network}:{sender.require(sender.reference, 'id')}")),
        _time(value, "timestamp") or _time(entry, "time"),
        event,
    )


def _contents(message: Fields) -> dict[str, object]:
    """Return what a message holds; of some kinds, such as stickers, Meta says only that it does not pass them on."""
    return present(
        text=message.text("text"),
        attachments=len(message.objects("attachments")) or None,
        unsupported=message.flag("is_unsupported") or None,
    )


def _time(fields: Fields, name: str) -> datetime | None:
    """Read a time that Meta counts in seconds for some fields and in milliseconds for others."""
    count = fields.number(name) or 0.0
    return fields.unix_time(name, per_second=1000 if count >= _EARLIEST_MILLISECONDS else 1)
