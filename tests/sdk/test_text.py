"""Folding: one spelling for what people do not tell apart."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sima_sdk.text import fold


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("٠٥٠١٢٣٤٥٦٧", "0501234567"),
        ("۰۹۱۲۳۴۵۶۷۸۹", "09123456789"),
        ("علي", "علی"),
        ("كريم", "کریم"),
        ("محـــمد", "محمد"),
        ("مُحَمَّد", "محمد"),
        ("می\u200cروم", "میروم"),
        ("\u200f+966\u200e", "+966"),
        ("ﻋﻠﻲ", "علی"),
        ("ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ", "ada@example.com"),
        ("Straße 7", "Straße 7"),
    ],
)
def test_spellings_of_one_text_become_one(written: str, folded: str) -> None:
    """Digits, letters, marks and widths that look alike end as the same text; other letters stay."""
    assert fold(written) == folded


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    """A folded text is its own folded form, whatever it holds."""
    assert fold(fold(text)) == fold(text)


@given(st.text(alphabet=st.sampled_from("ایيىکكهةئٔآاً\u0653\u0654\u0670\u200cـ٣۳")))
def test_folding_twice_changes_nothing_in_arabic_script(text: str) -> None:
    """Also where marks that fall away stand between letters and the hamza or madda that belong to them."""
    assert fold(fold(text)) == fold(text)


@given(st.text())
def test_a_folded_text_is_in_normal_form(text: str) -> None:
    """What is compared is always composed in the same way."""
    assert unicodedata.is_normalized("NFKC", fold(text))
