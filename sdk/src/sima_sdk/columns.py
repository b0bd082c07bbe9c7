"""Columns that an option of a source names, with the type of what stands in them: `Umsatz:number`; text by default."""

from dataclasses import dataclass
from datetime import tzinfo

from sima_sdk.errors import PayloadError
from sima_sdk.facts import TraitValue
from sima_sdk.payload import parse_local_time, parse_number

TYPES = ("text", "number", "boolean", "time")

_TRUTHS = {"true": True, "yes": True, "y": True, "1": True, "false": False, "no": False, "n": False, "0": False}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file, and as which of TYPES its values are read.

    No type is ever guessed: `00123` may be the number of a branch, and what looks like a number a barcode.
    """

    name: str
    type: str = "text"

    @classmethod
    def named(cls, text: str) -> "Column":
        """Return what an option such as `Umsatz:number` names; whether there is such a type, the caller checks."""
        name, colon, kind = text.strip().rpartition(":")
        return cls(name.strip(), kind) if colon else cls(kind)

    def read(self, text: str, zone: tzinfo, decimal_mark: str) -> TraitValue:
        """Return what a text in this column means.

        Args:
            text: What stands there; not blank.
            zone: Of times that name none.
            decimal_mark: What stands before decimals.

        Raises:
            PayloadError: It is not of the column's type.
        """
        match self.type:
            case "number":
                return parse_number(text, self.name, decimal_mark)
            case "time":
                return parse_local_time(text, self.name, zone)
            case "boolean":
                if text.lower() not in _TRUTHS:
                    raise PayloadError(f"{self.name}: expected true or false")
                return _TRUTHS[text.lower()]
        return text
