"""The rule language: parse a rule, ask what it looks at, compile it to SQL."""

from sima_segment.rules.catalogue import Catalogue
from sima_segment.rules.check import parse
from sima_segment.rules.compiler import CompiledRule, compile_rule
from sima_segment.rules.lexical import LONGEST_RULE
from sima_segment.rules.names import LONGEST_SEGMENT_NAME, normal_name
from sima_segment.rules.problems import Position, Problem, RuleError
from sima_segment.rules.references import References, references
from sima_segment.rules.schema import ColumnType
from sima_segment.rules.segments import check_segments, evaluation_order
from sima_segment.rules.together import compile_together
from sima_segment.rules.tree import Rule

__all__ = [
    "LONGEST_RULE",
    "LONGEST_SEGMENT_NAME",
    "Catalogue",
    "ColumnType",
    "CompiledRule",
    "Position",
    "Problem",
    "References",
    "Rule",
    "RuleError",
    "check_segments",
    "compile_rule",
    "compile_together",
    "evaluation_order",
    "normal_name",
    "parse",
    "references",
]
