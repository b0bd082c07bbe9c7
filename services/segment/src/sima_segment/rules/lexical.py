"""What is checked in the bare text of a rule before it is parsed, and how texts in quotes are read.

The grammar's pattern for texts takes exponential time over a quotation mark that is never closed, so every text is
seen to be closed first, with patterns that cannot go back.
"""

import re
from typing import Final

from sima_segment.rules.problems import START, Position, Problem, problem

LONGEST_RULE: Final = 32_768
MOST_WORDS: Final = 4_000
DEEPEST_BRACKETS: Final = 64

_WORD = re.compile(
    r"""//[^\n]*+
      | [rR]\"{3}[\s\S]*?\"{3}
      | [rR]'{3}[\s\S]*?'{3}
      | [rR]"[^"\n\r]*+"
      | [rR]'[^'\n\r]*+'
      | \"{3}(?:\\[\s\S]|(?!\"{3})[^\\])*+\"{3}
      | '{3}(?:\\[\s\S]|(?!'{3})[^\\])*+'{3}
      | "(?:\\.|[^"\\\n\r])*+"
      | '(?:\\.|[^'\\\n\r])*+'
      | \w++
      | [^\w\s]
    """,
    re.VERBOSE,
)
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
        return (problem(f"a rule has at most {LONGEST_RULE} characters", START),)
    found = _first_refused_character(text) or _first_refused_word(text)
    return (found,) if found else ()


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


def _first_refused_character(text: str) -> Problem | None:
    offsets = (offset for offset, character in enumerate(text) if _refused(character))
    offset = next(offsets, None)
    return None if offset is None else problem("this character cannot stand in a rule", position(text, offset))


def _first_refused_word(text: str) -> Problem | None:
    depth = 0
    for count, word in enumerate(_WORD.finditer(text)):
        depth += (word[0] in "([{") - (word[0] in ")]}")
        if message := _refusal(word[0], count, depth):
            return problem(message, position(text, word.start()), f"close it with {word[0]}" * (word[0] in "\"'"))
    return None


def _refusal(word: str, count: int, depth: int) -> str:
    if word in ('"', "'"):
        return "a text begins here and never ends"
    if count >= MOST_WORDS:
        return f"a rule has at most {MOST_WORDS} words and signs"
    return f"brackets are nested more than {DEEPEST_BRACKETS} deep" if depth > DEEPEST_BRACKETS else ""
