"""Rule text to syntax, with the grammar of the Common Expression Language that cel-python brings."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import Any, Final

from lark import Lark, Token, Tree, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.visitors import Transformer_NonRecursive

from sima_segment.rules.lexical import check_text, read_text
from sima_segment.rules.problems import START, Position, Problem, RuleError, problem
from sima_segment.rules.syntax import (
    Binary,
    Call,
    Conditional,
    Foreign,
    Index,
    Items,
    Literal,
    Logic,
    Name,
    Select,
    Syntax,
    Unary,
)

LARGEST_WHOLE_NUMBER: Final = 2**53

_INSTEAD: Final = {
    "=": "==", "&": "&&", "|": "||", "<>": "!=", "and": "&&", "or": "||", "not": "!", "is": "==",
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'",
    "،": ",", "؛": ",", "؟": "?", "×": "*", "÷": "/", "≥": ">=", "≤": "<=", "≠": "!=",
}  # fmt: skip


def parse_syntax(text: str, place: Position | None = None) -> Syntax:
    """Return the rule as it is written.

    Args:
        text: The rule.
        place: Where everything in it is said to stand, for text that takes the place of a call. None: where it does.

    Raises:
        RuleError: The text is no expression.
    """
    if problems := check_text(text):
        raise RuleError(problems)
    syntax: Syntax = _ToSyntax(place).transform(_tree(text))
    return syntax


def _tree(text: str) -> "Tree[Token]":
    try:
        return _grammar().parse(text)
    except UnexpectedInput as error:
        raise RuleError((_explain(error, text),)) from error


@cache
def _grammar() -> Lark:
    return Lark(
        files("celpy").joinpath("cel.lark").read_text(encoding="utf-8"),
        parser="lalr",
        start="expr",
        priority="invert",
        maybe_placeholders=False,
        propagate_positions=True,
        lexer_callbacks={"IDENT": _true_or_false},
    )


def _true_or_false(token: Token) -> Token:
    """Tell the two words that are values from names; the grammar leaves it to the lexer."""
    return Token.new_borrow_pos("BOOL_LIT", token.value, token) if token in ("true", "false") else token


def _explain(error: UnexpectedInput, text: str) -> Problem:
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return _ends_early(text)
    offset = error.pos_in_stream or 0
    found = str(error.token) if isinstance(error, UnexpectedToken) else text[offset]
    at = Position(max(error.line, 1), max(error.column, 1))
    return problem(_unexpected(error, found), at, _meant(found, text[max(offset - 1, 0) : offset + 1]))


def _ends_early(text: str) -> Problem:
    lines = text.rstrip().splitlines() or [""]
    return problem("the rule ends before it is complete", Position(len(lines), len(lines[-1]) + 1))


def _unexpected(error: UnexpectedInput, found: str) -> str:
    if isinstance(error, UnexpectedCharacters) and found.isalpha():
        return "names outside quotes are written with the letters a to z"
    return "a text cannot stand here" if found[-1] in "\"'" else f"{found[:40]} cannot stand here"


def _meant(found: str, pair: str) -> str:
    if meant := _INSTEAD.get(pair) or _INSTEAD.get(found.lower()):
        return meant
    return 'write traits["name"] for a name in other letters' if found.isalpha() and not found.isascii() else ""


@dataclass(frozen=True, slots=True)
class _Half:
    """A left side with its operator, while the right side is still to come."""

    operator: str
    left: Any


def _operator(operator: str) -> Any:
    return lambda _self, _meta, children: _Half(operator, children[0])


def _foreign(message: str) -> Any:
    return lambda self, meta, _children: Foreign(self.at(meta), message)


def _arguments(children: Sequence[Any]) -> tuple[Syntax, ...]:
    return children[-1] if children and isinstance(children[-1], tuple) else ()


@v_args(meta=True)
class _ToSyntax(Transformer_NonRecursive[Token, Any]):
    """Folds the grammar's tree from its leaves; without recursion, so depth costs nothing."""

    def __init__(self, place: Position | None) -> None:
        super().__init__()
        self._place = place

    def at(self, meta: Any) -> Position:
        return self._place or (START if meta.empty else Position(meta.line, meta.column))

    def token_at(self, token: Token) -> Position:
        return self._place or Position(token.line or 1, token.column or 1)

    def expr(self, meta: Any, children: list[Any]) -> Any:
        return children[0] if len(children) == 1 else Conditional(self.at(meta), *children)

    def conditionalor(self, meta: Any, children: list[Any]) -> Any:
        return children[0] if len(children) == 1 else _logic("||", self.at(meta), *children)

    def conditionaland(self, meta: Any, children: list[Any]) -> Any:
        return children[0] if len(children) == 1 else _logic("&&", self.at(meta), *children)

    def relation(self, meta: Any, children: list[Any]) -> Any:
        return _binary(self.at(meta), children)

    addition = relation
    multiplication = relation
    relation_lt, relation_le = _operator("<"), _operator("<=")
    relation_gt, relation_ge = _operator(">"), _operator(">=")
    relation_eq, relation_ne = _operator("=="), _operator("!=")
    relation_in = _operator("in")
    addition_add, addition_sub = _operator("+"), _operator("-")
    multiplication_mul, multiplication_div = _operator("*"), _operator("/")
    multiplication_mod = _operator("%")

    def unary(self, meta: Any, children: list[Any]) -> Any:
        return children[0] if len(children) == 1 else Unary(self.at(meta), *children)

    def unary_not(self, _meta: Any, _children: list[Any]) -> str:
        return "!"

    def unary_neg(self, _meta: Any, _children: list[Any]) -> str:
        return "-"

    def member(self, _meta: Any, children: list[Any]) -> Any:
        return children[0]

    primary = member
    paren_expr = member

    def member_dot(self, _meta: Any, children: list[Any]) -> Any:
        return Select(self.token_at(children[1]), children[0], str(children[1]))

    def member_dot_arg(self, _meta: Any, children: list[Any]) -> Any:
        of, function, *rest = children
        return Call(self.token_at(function), of, str(function), _arguments(rest))

    def member_index(self, _meta: Any, children: list[Any]) -> Any:
        of, key = children
        return Index(key.at, of, key)

    def ident_arg(self, _meta: Any, children: list[Any]) -> Any:
        function, *rest = children
        return Call(self.token_at(function), None, str(function), _arguments(rest))

    def ident(self, _meta: Any, children: list[Any]) -> Any:
        return Name(self.token_at(children[0]), str(children[0]))

    def list_lit(self, meta: Any, children: list[Any]) -> Any:
        return Items(self.at(meta), _arguments(children))

    def exprlist(self, _meta: Any, children: list[Any]) -> Any:
        return tuple(children)

    def literal(self, _meta: Any, children: list[Any]) -> Any:
        return _literal(self.token_at(children[0]), children[0])

    map_lit = _foreign("rules have no maps in braces")
    member_object = _foreign("rules have no objects in braces")
    mapinits = fieldinits = _foreign("rules have nothing in braces")
    dot_ident = dot_ident_arg = _foreign("a name does not begin with a dot")


def _logic(operator: str, at: Position, left: Any, right: Any) -> Logic:
    terms = left.terms if isinstance(left, Logic) and left.operator == operator else (left,)
    return Logic(at, operator, (*terms, right))


def _binary(at: Position, children: list[Any]) -> Any:
    if len(children) == 1:
        return children[0]
    half, right = children
    return Binary(at, half.operator, half.left, right)


def _literal(at: Position, token: Token) -> Syntax:
    try:
        return Literal(at, _LITERALS[token.type](str(token)))
    except KeyError:
        return Foreign(at, _FOREIGN_LITERALS[token.type])
    except ValueError as error:
        return Foreign(at, str(error))


def _whole_number(text: str) -> int:
    if len(text) > 20 or abs(number := int(text, 0 if "x" in text else 10)) > LARGEST_WHOLE_NUMBER:
        raise ValueError("a whole number this large loses digits; write it as a text in quotes")
    return number


def _fraction(text: str) -> float:
    if not isfinite(number := float(text)):
        raise ValueError("this number is too large")
    return number


_LITERALS: Final[dict[str, Any]] = {
    "INT_LIT": _whole_number,
    "FLOAT_LIT": _fraction,
    "STRING_LIT": read_text,
    "MLSTRING_LIT": read_text,
    "BOOL_LIT": lambda text: text == "true",
}
_FOREIGN_LITERALS: Final = {
    "UINT_LIT": "write the number without u",
    "BYTES_LIT": "rules have no bytes; write a text without b",
    "NULL_LIT": "rules have no null; write has(traits.name) to ask whether a value is known",
}
