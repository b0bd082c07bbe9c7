"""What is checked in the bare text of a rule before it is parsed, and how texts in quotes are read.

The grammar's pattern for texts takes exponential time over a quotation mark that is never closed, so every text is
seen to be closed first, with patterns that cannot go back.
"""

import re
from collections.abc import Iterator
from typing import Final

from sima_segment.rules.problems import Position, Problem, problem

LONGEST_RULE: Final = 32_768
DEEPEST_BRACKETS: Final = 64

_SKIPPED = re.compile(
    r"""//[^\n]*+
      | \"{3}(?:\\[\s\S]|(?!\"{3})[^\\])*+\"{3}
      | '{3}(?:\\[\s\S]|(?!'{3})[^\\])*+'{3}
      | "(?:\\.|[^"\\\n\r])*+"
      | '(?:\\.|[^'\\\n\r])*+'
    """,
    re.VERBOSE,
)
_QUOTE_COMMENT_OR_BRACKET = re.compile(r"""//|["'()\[\]{}]""")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|([\s\S]))")
_SIMPLE_ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", '"': '"', "'": "'", "`": "`", "?": "?",
}  # fmt: skip


class TextLiteralError(ValueError):
    """A text in quotes cannot be read; the message says why."""


def position(text: str, offset: int) -> Position:
    """Return line and column of a character of the text."""
    return Position(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def check_text(text: str) -> tuple[Problem, ...]:
    """Return why the text cannot be parsed at all; empty if it can be tried."""
    if len(text) > LONGEST_RULE:
        return (problem(f"a rule has at most {LONGEST_RULE} characters", Position(1, 1)),)
    return tuple(_refused_characters(text)) or tuple(_open_texts(text))


def read_text(token: str) -> str:
    """Return what a text literal stands for.

    Raises:
        TextLiteralError: It has an escape that means nothing, or stands for a character that no text can hold.
    """
    raw = token[0] in "rR"
    body = token[1:] if raw else token
    marks = 3 if body[:3] in ('"""', "'''") and len(body) >= 6 else 1
    inner = body[marks:-marks]
    return _storable(inner if raw else _ESCAPE.sub(_unescape, inner))


def _unescape(match: re.Match[str]) -> str:
    two, four, eight, octal, simple = match.groups()
    if simple:
        return _simple(simple)
    code = int(octal, 8) if octal else int(two or four or eight, 16)
    if code > 0x10FFFF:
        raise TextLiteralError(f"{match[0]} is not a character")
    return chr(code)


def _simple(letter: str) -> str:
    if letter not in _SIMPLE_ESCAPES:
        raise TextLiteralError("a backslash begins an escape such as \\n; a backslash itself is written \\\\")
    return _SIMPLE_ESCAPES[letter]


def _storable(text: str) -> str:
    if any(_refused(character) for character in text):
        raise TextLiteralError("a text cannot hold the character zero or half a surrogate pair")
    return text


def _refused(character: str) -> bool:
    return character == "\0" or "\ud800" <= character <= "\udfff"


def _refused_characters(text: str) -> Iterator[Problem]:
    for offset, character in enumerate(text):
        if _refused(character):
            yield problem("this character cannot stand in a rule", position(text, offset))
            return


def _open_texts(text: str) -> Iterator[Problem]:
    offset, depth = 0, 0
    while found := _QUOTE_COMMENT_OR_BRACKET.search(text, offset):
        whole = _SKIPPED.match(text, found.start())
        depth += (found[0] in "([{") - (found[0] in ")]}")
        offset = whole.end() if whole else found.end()
        if whole is None and found[0] in "\"'":
            at = position(text, found.start())
            yield problem("a text begins here and never ends", at, f"close it with {found[0]}")
            return
        if depth > DEEPEST_BRACKETS:
            yield problem(f"brackets are nested more than {DEEPEST_BRACKETS} deep", position(text, found.start()))
            return
