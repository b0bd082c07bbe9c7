"""A rule to the SQL that answers for whom it holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from sima_segment.rules.catalogue import Catalogue, Slice, slice_of
from sima_segment.rules.dialect import INSTANT, to_sql
from sima_segment.rules.people import people_for
from sima_segment.rules.references import references
from sima_segment.rules.tree import Rule

KEPT: Final = 4096
"""How many compiled rules are kept."""


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """The SQL of a rule.

    Attributes:
        sql: Selects everybody for whom the rule holds, once, as the one column `person`. Names no schema, so it runs
            over any tables of the right names.
        depends_on_time: Whether the SQL has the instant as its parameter.
    """

    sql: str
    depends_on_time: bool

    def parameters(self, instant: datetime) -> Mapping[str, datetime]:
        """Return the parameters with which the SQL is executed to hold for an instant, which states its time zone."""
        return {INSTANT: instant.astimezone(UTC).replace(tzinfo=None)} if self.depends_on_time else {}


def compile_rule(rule: Rule, catalogue: Catalogue) -> CompiledRule:
    """Return the SQL of a rule over the columns that there are.

    Compiling takes some milliseconds, once: results are kept, and stay good while the columns that the rule looks at
    stay the same.
    """
    return _compiled(rule, slice_of(catalogue, references(rule)))


@lru_cache(maxsize=KEPT)
def _compiled(rule: Rule, columns: Slice) -> CompiledRule:
    return CompiledRule(*to_sql(people_for(rule.condition, columns.catalogue())))
