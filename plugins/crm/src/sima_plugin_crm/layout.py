"""Which column of a contacts file means what: HubSpot's by default, others by the options of the source."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo

from sima_sdk import FixConfigurationError, Method, Source, TraitValue
from sima_sdk.columns import TYPES, Column
from sima_sdk.files import Record, decimal_mark_of, zone_of

#: HubSpot's columns, as its tables are synchronised to warehouses and as its own export names them. Those that a file
#: has count; an option of the same name replaces them.
HUBSPOT = {
    "id": "id, Record ID",
    "merged_ids": "property_hs_merged_object_ids, Merged record IDs",
    "company_id": "property_associatedcompanyid, Primary Associated Company ID",
    "deleted": "_fivetran_deleted",
    "time": "property_lastmodifieddate, Last Modified Date, _fivetran_synced",
    "identifier.email": "property_email, property_email_1, Email",
    "identifier.phone": "property_phone, property_mobilephone, Phone Number, Mobile Phone Number",
    "trait.first_name": "property_firstname, First Name",
    "trait.last_name": "property_lastname, Last Name",
    "trait.company": "property_company, Company Name",
    "trait.job_title": "property_jobtitle, Job Title",
    "trait.city": "property_city, City",
    "trait.country": "property_country, Country/Region",
    "trait.birth_date": "property_date_of_birth, Date of birth",
    "trait.lifecycle_stage": "property_lifecyclestage, Lifecycle Stage",
    "trait.annual_revenue": "property_annualrevenue:number, Annual Revenue:number",
}
MEANINGS = ("id", "merged_ids", "company_id", "deleted", "time")
FAMILIES = ("identifier.", "trait.", "consent.")
OPTIONS = (*MEANINGS, *FAMILIES, "namespace", "optional", "method")


@dataclass(frozen=True, slots=True)
class Layout:
    """How the records of a source's files are to be understood.

    Attributes:
        columns: By meaning (`id`, `identifier.email`, `trait.city`, ...).
        required: Columns that every file must have: those that options name and do not call optional.
        namespace: Put before contact ids, so that the ids of two systems never meet.
        zone: Of times that name none.
        decimal_mark: Of numbers.
        method: How the CRM came to know what it says.
    """

    columns: Mapping[str, tuple[Column, ...]]
    required: tuple[str, ...]
    namespace: str
    zone: tzinfo
    decimal_mark: str
    method: Method

    @classmethod
    def of(cls, source: Source) -> "Layout":
        """Read the options of a source.

        Raises:
            FixConfigurationError: One of them makes no sense.
        """
        options = source.options
        chosen = {name: text for name, text in options.items() if name in MEANINGS or name.startswith(FAMILIES)}
        columns = {name: tuple(_columns(source, name, text)) for name, text in (HUBSPOT | chosen).items()}
        optional = {name.strip() for name in options.get("optional", "").split(",")}
        return cls(
            columns=columns,
            required=tuple(column.name for name in chosen for column in columns[name] if column.name not in optional),
            namespace=options.get("namespace", "hubspot"),
            zone=zone_of(source),
            decimal_mark=decimal_mark_of(source),
            method=_method(source),
        )

    @property
    def identifying(self) -> tuple[str, ...]:
        """The columns that say who a record is about."""
        return tuple(
            column.name
            for meaning, columns in self.columns.items()
            if meaning == "id" or meaning.startswith("identifier.")
            for column in columns
        )

    def values(self, record: Record, meaning: str) -> Iterator[TraitValue]:
        """Yield what a record says in the columns of a meaning, where it says something.

        Raises:
            PayloadError: A value is not of its column's type.
        """
        for column in self.columns.get(meaning, ()):
            if text := record.values.get(column.name, ""):
                yield column.read(text, self.zone, self.decimal_mark)

    def named(self, record: Record, family: str) -> Iterator[tuple[str, TraitValue]]:
        """Yield every value of a family (`identifier`, `trait`, `consent`), with its name. Raises as `values` does."""
        for meaning in self.columns:
            if meaning.startswith(f"{family}."):
                for value in self.values(record, meaning):
                    yield meaning.partition(".")[2], value


def _type(meaning: str) -> str:
    return "boolean" if meaning.startswith(("consent.", "deleted")) else "time" if meaning == "time" else "text"


def _columns(source: Source, meaning: str, text: str) -> Iterator[Column]:
    for part in text.split(","):
        typed = meaning.startswith("trait.")
        column = Column.named(part) if typed else Column(part.strip(), _type(meaning))
        if column.type not in TYPES or not column.name:
            raise FixConfigurationError(
                f"source {source.name}, option {meaning}: expected columns, of traits perhaps with :{'|'.join(TYPES)}"
            )
        yield column


def _method(source: Source) -> Method:
    try:
        return Method(source.options.get("method", Method.DECLARED))
    except ValueError:
        raise FixConfigurationError(
            f"source {source.name}, option method: expected declared, observed or acquired"
        ) from None
