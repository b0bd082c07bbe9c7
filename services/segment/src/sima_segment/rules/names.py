"""Names of segments: as callers write them, and as rules refer to them."""

import unicodedata
from typing import Final

LONGEST_SEGMENT_NAME: Final = 100

_SIGNS: Final = "_-\u200c"  # the last is the zero-width non-joiner, without which Persian words cannot be written


def normal_name(name: str) -> str | None:
    """Return a segment's name in its normal form; None if it cannot be one."""
    normal = unicodedata.normalize("NFC", name)
    fits = 0 < len(normal) <= LONGEST_SEGMENT_NAME and all(map(_may_stand_in_name, normal))
    return normal if fits else None


def _may_stand_in_name(sign: str) -> bool:
    category = unicodedata.category(sign)
    return category[0] in "LM" or category == "Nd" or sign in _SIGNS
