"""Rule text to syntax, with the grammar of the Common Expression Language that cel-python brings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import Final

from lark import Lark, Token, Tree, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.tree import Meta
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
    LiteralValue,
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
    return _ToSyntax(place).transform(_tree(text))


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
    left: Syntax


def _half(operator: str) -> Callable[["_ToSyntax", Meta, list[Syntax]], _Half]:
    return lambda _self, _meta, children: _Half(operator, children[0])


def _foreign(message: str) -> Callable[["_ToSyntax", Meta, list[Syntax]], Foreign]:
    return lambda self, meta, _children: Foreign(self.at(meta), message)


@v_args(meta=True)
class _ToSyntax(Transformer_NonRecursive[Token, Syntax]):
    """Folds the grammar's tree from its leaves; without recursion, so depth costs nothing."""

    def __init__(self, place: Position | None) -> None:
        super().__init__()
        self._place = place

    def at(self, meta: Meta) -> Position:
        return self._place or (START if meta.empty else Position(meta.line, meta.column))

    def token_at(self, token: Token) -> Position:
        return self._place or Position(token.line or 1, token.column or 1)

    def expr(self, meta: Meta, children: list[Syntax]) -> Syntax:
        return children[0] if len(children) == 1 else Conditional(self.at(meta), *children)

    def conditionalor(self, meta: Meta, children: list[Syntax]) -> Syntax:
        return children[0] if len(children) == 1 else _logic("||", self.at(meta), *children)

    def conditionaland(self, meta: Meta, children: list[Syntax]) -> Syntax:
        return children[0] if len(children) == 1 else _logic("&&", self.at(meta), *children)

    def relation(self, meta: Meta, children: tuple[Syntax] | tuple[_Half, Syntax]) -> Syntax:
        if len(children) == 1:
            return children[0]
        half, right = children
        return Binary(self.at(meta), half.operator, half.left, right)

    addition = multiplication = relation
    relation_lt, relation_le, relation_gt, relation_ge = _half("<"), _half("<="), _half(">"), _half(">=")
    relation_eq, relation_ne, relation_in = _half("=="), _half("!="), _half("in")
    addition_add, addition_sub = _half("+"), _half("-")
    multiplication_mul, multiplication_div, multiplication_mod = _half("*"), _half("/"), _half("%")

    def unary(self, meta: Meta, children: tuple[Syntax] | tuple[str, Syntax]) -> Syntax:
        return children[0] if len(children) == 1 else Unary(self.at(meta), *children)

    def unary_not(self, _meta: Meta, _children: list[Syntax]) -> str:
        return "!"

    def unary_neg(self, _meta: Meta, _children: list[Syntax]) -> str:
        return "-"

    def member(self, _meta: Meta, children: list[Syntax]) -> Syntax:
        return children[0]

    primary = paren_expr = member

    def member_dot(self, _meta: Meta, children: tuple[Syntax, Token]) -> Syntax:
        of, name = children
        return Select(self.token_at(name), of, str(name))

    def member_dot_arg(self, _meta: Meta, children: tuple[Syntax, Token, *tuple[tuple[Syntax, ...], ...]]) -> Syntax:
        of, function, *arguments = children
        return Call(self.token_at(function), of, str(function), *arguments or ((),))

    def member_index(self, _meta: Meta, children: list[Syntax]) -> Syntax:
        of, key = children
        return Index(key.at, of, key)

    def ident_arg(self, _meta: Meta, children: tuple[Token, *tuple[tuple[Syntax, ...], ...]]) -> Syntax:
        function, *arguments = children
        return Call(self.token_at(function), None, str(function), *arguments or ((),))

    def ident(self, _meta: Meta, children: list[Token]) -> Syntax:
        return Name(self.token_at(children[0]), str(children[0]))

    def list_lit(self, meta: Meta, children: list[tuple[Syntax, ...]]) -> Syntax:
        return Items(self.at(meta), *children or ((),))

    def exprlist(self, _meta: Meta, children: list[Syntax]) -> tuple[Syntax, ...]:
        return tuple(children)

    def literal(self, _meta: Meta, children: list[Token]) -> Syntax:
        return _literal(self.token_at(children[0]), children[0])

    map_lit = _foreign("rules have no maps in braces")
    member_object = _foreign("rules have no objects in braces")
    mapinits = fieldinits = _foreign("rules have nothing in braces")
    dot_ident = dot_ident_arg = _foreign("a name does not begin with a dot")


def _logic(operator: str, at: Position, left: Syntax, right: Syntax) -> Logic:
    terms = left.terms if isinstance(left, Logic) and left.operator == operator else (left,)
    return Logic(at, operator, (*terms, right))


def _literal(at: Position, token: Token) -> Syntax:
    if token.type not in _LITERALS:
        return Foreign(at, _FOREIGN_LITERALS[token.type])
    try:
        return Literal(at, _LITERALS[token.type](str(token)))
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


_LITERALS: Final[Mapping[str, Callable[[str], LiteralValue]]] = {
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
