"""Files of contacts, as a CRM exports them: CSV, one contact in each record.

Without options it reads HubSpot's contacts. Options of a source name other columns, several with commas between them:

- `id`: the contact's id, written as user id `<namespace>:<id>`; option `namespace`, default `hubspot`.
- `merged_ids`: ids, with semicolons between them, of contacts that were merged into this one.
- `company_id`: ids, with semicolons between them, of the companies that the contact belongs to, each as account id
  `<namespace>:<id>`. Companies are told apart from people, so colleagues stay several people.
- `deleted`: whether the contact was deleted; such a record is refused.
- `time`: when the record held, in ISO 8601 or in the option `time_zone` (default UTC). Without it a record counts from
  when it was first received: one that returns to what an earlier one said changes nothing. So consents need it.
- `identifier.<kind>`, for example `identifier.loyalty_card`; the kind must be a known one.
- `trait.<name>`, for example `trait.annual_revenue` = `Umsatz:number`; types are text, number, boolean and time.
- `consent.<purpose>`, for example `consent.email_marketing`; true grants and false denies.
- `optional`: columns, of those that options name, that a file may lack; without the others it is refused.
- `method`: `declared` (the default), `observed` or `acquired`.

See also the options of `sima_sdk.files`.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from sima_sdk import Consent, Fact, Identifier, Page, PayloadError, PullConnector, Source, Trait
from sima_sdk.facts import identifiers
from sima_sdk.files import CSV_OPTIONS, Record, check_csv, in_pages, one_by_one, read_csv

from sima_plugin_crm.layout import OPTIONS, Layout


class ContactsConnector(PullConnector):
    """Contacts from a file."""

    name = "contacts"
    options = (*OPTIONS, *CSV_OPTIONS)

    def check(self, source: Source) -> None:
        """Require options that make sense."""
        check_csv(source)
        Layout.of(source)

    def pull(self, source: Source, file: Path, checkpoint: str = "") -> Iterator[Page]:
        """Yield a fact for each contact."""
        layout = Layout.of(source)
        records = _identified(layout, read_csv(file, source, layout.required))
        return in_pages(one_by_one(records), partial(_fact, layout), checkpoint)


def _identified(layout: Layout, records: Iterable[Record]) -> Iterator[Record]:
    """Yield the records of a file in which at least one column says who they are about."""
    columns = layout.identifying
    for record in records:
        if not record.fault and record.values.keys().isdisjoint(columns):
            raise PayloadError(f"file: expected at least one of the columns {', '.join(columns)}")
        yield record


def _fact(layout: Layout, records: Sequence[Record]) -> Fact:
    contact = records[0]
    if any(layout.values(contact, "deleted")):
        raise PayloadError("deleted: expected a contact that still exists")
    who = _identifiers(layout, contact)
    if not who:
        raise PayloadError("id: expected a contact id, or another identifier")
    companies = (("account_id", f"{layout.namespace}:{one}") for one in _ids(layout, contact, "company_id"))
    at = next(layout.values(contact, "time"), None)
    consents = tuple(Consent(purpose, value is True) for purpose, value in layout.named(contact, "consent"))
    if consents and at is None:  # withdrawn, given and withdrawn again, it would be taken for the first withdrawal
        raise PayloadError("time: expected when the consent was given or withdrawn")
    known = dict(reversed(list(layout.named(contact, "trait"))))  # of several columns, the first counts
    return Fact(
        message_id=contact.message_id,
        identifiers=(*who, *identifiers(*companies)),
        occurred_at=at if isinstance(at, datetime) else None,
        traits=tuple(Trait(name, value, layout.method) for name, value in known.items()),
        consents=consents,
    )


def _identifiers(layout: Layout, contact: Record) -> tuple[Identifier, ...]:
    ids = [str(value) for value in layout.values(contact, "id")][:1]
    ids += _ids(layout, contact, "merged_ids")
    named = ((kind, str(value)) for kind, value in layout.named(contact, "identifier"))
    return identifiers(*(("user_id", f"{layout.namespace}:{one}") for one in ids), *named)


def _ids(layout: Layout, contact: Record, meaning: str) -> list[str]:
    """The ids in the columns of a meaning, with semicolons between them."""
    values = (str(value).split(";") for value in layout.values(contact, meaning))
    return [one.strip() for each in values for one in each if one.strip()]
