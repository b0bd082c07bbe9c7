"""Names of tables and columns that a rule reads; the rules and the projection both take them from here.

DuckDB does not tell `Total` from `total` in the name of a column, JSON does. So an upper-case ASCII letter is written
as `^` and its lower-case form, and `^` as `^^`; different names always give different columns.
"""

import re

PEOPLE = "people"
TRAITS = "traits"
CONSENTS = "consents"

_ENCODED = re.compile(r"[A-Z^]")


def _encode(name: str) -> str:
    return _ENCODED.sub(lambda match: "^" + match[0].lower(), name)


def event_table(event: str) -> str:
    """Answer the table that holds the events of one name."""
    return f"event:{_encode(event)}"


def segment_table(segment: str) -> str:
    """Answer the table that holds the members of a segment to which a rule refers."""
    return f"segment:{_encode(segment)}"


def column(name: str, kind: str) -> str:
    """Answer the column that holds a property's or trait's values of one kind (text, number, boolean, time)."""
    return f"{_encode(name)}__{kind}"


def quoted(name: str) -> str:
    """Answer a name as it stands in SQL."""
    return '"' + name.replace('"', '""') + '"'
