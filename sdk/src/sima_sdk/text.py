"""Folds spellings that people do not tell apart: Arabic and Persian digits and letters, marks that are not seen."""

import unicodedata

_DIGITS = {ord(digit): str(value) for row in ("٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹") for value, digit in enumerate(row)}
# The same letter on an Arabic and on a Persian keyboard; alef maksura stays, for it is another letter in Arabic.
_LETTERS = {ord("ي"): "ی", ord("ك"): "ک"}
_HARAKAT = (*range(0x064B, 0x0653), 0x0670)
_TATWEEL = 0x0640
# Soft hyphen, zero-width blanks and joiners, direction marks, byte-order mark.
_UNSEEN = (0x00AD, 0x061C, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF)
_FOLDING = _DIGITS | _LETTERS | dict.fromkeys((*_HARAKAT, _TATWEEL, *_UNSEEN), "")


def fold(text: str) -> str:
    """Return the text in the one spelling by which it is compared; case and outer blanks are kept.

    Compatibility forms are composed (NFKC), Arabic-Indic and Persian digits become ASCII digits, Arabic yeh and kaf
    become the Persian ones; tatweel, harakat and invisible marks fall away. Folding twice changes nothing.
    """
    if text.isascii():
        return text
    folded = unicodedata.normalize("NFKC", text).translate(_FOLDING)
    return unicodedata.normalize("NFKC", folded)  # what fell away may have stood between two parts of one letter
