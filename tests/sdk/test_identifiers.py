"""Normal forms of identifiers, their kinds, and their keys."""

import email_validator
import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sima_sdk.errors import FixConfigurationError, InvalidIdentifierError
from sima_sdk.identifiers import (
    BUILT_IN_KINDS,
    MAX_LENGTH,
    IdentifierKind,
    IdentifierKinds,
    identifier_key,
    normalise_email,
    normalise_opaque,
    normalise_phone,
)

KINDS = IdentifierKinds(BUILT_IN_KINDS)
REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
ATEXT = "abcXYZ019.+-_!#$%&'*/=?^`{|}~"
EMAIL_LIKE = st.builds(
    "{}@{}".format,
    st.text(alphabet=ATEXT, max_size=70),
    st.text(alphabet="abcXYZ019.-", max_size=70) | st.sampled_from(["ex--ample.com", "xn--mnchen-3ya.de", "a.test"]),
)


@pytest.mark.parametrize(
    ("kind", "region", "written", "normal"),
    [
        ("email", None, "  Ada.Lovelace@Example.COM ", "ada.lovelace@example.com"),
        ("email", None, "ada@MÜNCHEN.de", "ada@xn--mnchen-3ya.de"),
        ("email", None, "ada@xn--mnchen-3ya.de", "ada@xn--mnchen-3ya.de"),
        ("email", None, "علي@example.com", "علی@example.com"),
        ("email", None, "ali۱۲@example.com", "ali12@example.com"),
        ("phone", "SA", "٠٥٠ ١٢٣ ٤٥٦٧", "+966501234567"),
        ("phone", "IR", "۰۹۱۲ ۳۴۵ ۶۷۸۹", "+989123456789"),
        ("phone", "DE", "0151 23456789", "+4915123456789"),
        ("phone", "DE", "00 966 50 123 4567", "+966501234567"),
        ("phone", "SA", "966501234567", "+966501234567"),
        ("phone", None, "+1 (613) 555-0139", "+16135550139"),
        ("user_id", None, " shopify:207119551\u200e", "shopify:207119551"),
        ("social_handle", None, "Instagram:@Ada.L", "instagram:ada.l"),
        ("loyalty_card", None, "sima 1234-5678", "SIMA12345678"),
        ("passport", None, "a 1234 567", "A1234567"),
        ("anonymous_id", None, "C0FFEE-c0ffee", "C0FFEE-c0ffee"),
    ],
)
def test_every_spelling_has_its_normal_form(kind: str, region: str | None, written: str, normal: str) -> None:
    """However a channel writes an identifier, it comes out in the one form that is compared."""
    assert KINDS.normalise(kind, written, region) == normal


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "n/a"),
        ("email", "ada@localhost"),
        ("email", "Ada <ada@example.com>"),
        ("email", '"ada b"@example.com'),
        ("email", "ada@example..com"),
        ("email", "ada\ud800@example.com"),
        ("email", ""),
        ("phone", "0501234567"),
        ("phone", "0000000000"),
        ("phone", "+966 0000"),
        ("phone", "+1 650 253 0000 ext. 5"),
        ("phone", "unknown"),
        ("phone", "9.66501E+11"),
        ("user_id", " \t "),
        ("user_id", "a\x00b"),
        ("user_id", "a\ud800b"),
        ("user_id", "x" * (MAX_LENGTH + 1)),
        ("user_id", "\ufdfa" * MAX_LENGTH),
        ("social_handle", ""),
        ("loyalty_card", "- -"),
        ("shoe_size", "42"),
    ],
)
def test_what_has_no_normal_form_is_refused_without_its_value(kind: str, value: str) -> None:
    """An identifier that cannot be one is refused, and the reason does not repeat what stood there."""
    with pytest.raises(InvalidIdentifierError) as error:
        KINDS.normalise(kind, value)
    assert not value.strip() or value not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "value"), [("user_id", ""), ("anonymous_id", " "), ("social_handle", "@"), ("loyalty_card", "- -")]
)
def test_of_what_is_empty_it_is_said_that_it_is(kind: str, value: str) -> None:
    """Nobody looks for control characters where nothing stands."""
    with pytest.raises(InvalidIdentifierError, match=r"^expected a text that is not empty$"):
        KINDS.normalise(kind, value)


@given(st.sampled_from(sorted(BUILT_IN_KINDS)), st.text(max_size=60) | EMAIL_LIKE, st.sampled_from([None, *REGIONS]))
def test_a_normal_form_is_its_own_normal_form(kind: str, value: str, region: str | None) -> None:
    """Normalising what is normal changes nothing, for any kind, value and region."""
    try:
        normal = KINDS.normalise(kind, value, region)
    except InvalidIdentifierError:
        return
    assert KINDS.normalise(kind, normal, None) == normal


@pytest.mark.parametrize("region", REGIONS)
def test_phones_of_every_region_agree_in_local_and_international_form(region: str) -> None:
    """A number as dialled at home and as dialled from abroad is one number, everywhere."""
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    number = example or phonenumbers.example_number(region)
    assert number is not None
    forms = phonenumbers.PhoneNumberFormat
    international = phonenumbers.format_number(number, forms.INTERNATIONAL)
    national = phonenumbers.format_number(number, forms.NATIONAL)
    assert normalise_phone(national, region) == normalise_phone(international, None)
    assert normalise_phone(normalise_phone(international), region) == normalise_phone(international)


@given(EMAIL_LIKE)
def test_the_quick_way_for_plain_addresses_agrees_with_the_library(address: str) -> None:
    """An address is taken or refused, and normalised, exactly as the mail library does it."""
    try:
        known = email_validator.validate_email(address.lower(), check_deliverability=False)
        expected = f"{known.local_part}@{known.ascii_domain}"
    except email_validator.EmailNotValidError:
        expected = "refused"
    try:
        assert normalise_email(address) == expected
    except InvalidIdentifierError:
        assert expected == "refused"


@given(st.text(max_size=40))
def test_opaque_values_never_hold_control_characters(value: str) -> None:
    """What is stored as an id can be printed and encoded."""
    try:
        normal = normalise_opaque(value)
    except InvalidIdentifierError:
        return
    assert normal.encode()
    assert "\x00" not in normal


def test_protected_values_are_not_remembered() -> None:
    """The cache of normal forms never keeps a passport or national id."""
    calls: list[str] = []

    def watch(value: str, _region: str | None) -> str:
        calls.append(value)
        return value

    kinds = IdentifierKinds(
        {
            "open": IdentifierKind("open", watch, 50, strong=True),
            "secret": IdentifierKind("secret", watch, 50, strong=True, protected=True),
        }
    )
    for name in ("open", "open", "secret", "secret"):
        kinds.normalise(name, f"{name} value")
    assert calls == ["open value", "secret value", "secret value"]


def test_built_in_kinds_are_ordered_by_strength() -> None:
    """The order of kinds is the order in which they own facts, and every priority is used once."""
    ranks = [kind.rank for kind in BUILT_IN_KINDS.values()]
    assert ranks == sorted(set(ranks))
    assert {name for name, kind in BUILT_IN_KINDS.items() if not kind.strong} == {"device_id", "anonymous_id"}
    assert {name for name, kind in BUILT_IN_KINDS.items() if kind.protected} == {"passport", "national_id"}


@pytest.mark.parametrize(
    ("name", "priority", "most"), [("Tax Id", 50, 1), ("tax_id", 0, 1), ("tax_id", 101, 1), ("tax_id", 50, 0)]
)
def test_a_kind_that_makes_no_sense_is_refused(name: str, priority: int, most: int) -> None:
    """A plugin's kind with a bad name, priority or limit never loads."""
    with pytest.raises(FixConfigurationError):
        IdentifierKind(name, normalise_opaque, priority, strong=True, most_per_profile=most)


def test_keys_depend_on_secret_kind_and_value() -> None:
    """The key of an identifier changes with the secret, with the kind and with the value; it has 16 bytes."""
    keys = {
        identifier_key(secret, kind, value)
        for secret in (b"a" * 32, b"b" * 32)
        for kind in ("email", "user_id")
        for value in ("ada@example.com", "bob@example.com")
    }
    assert len(keys) == 8
    assert {len(key) for key in keys} == {16}


def test_keys_never_change() -> None:
    """A key computed today is the key stored yesterday."""
    key = identifier_key(bytes(range(32)), "email", "ada@example.com")
    assert key.hex() == "f1854dd41362d15ec44a6fd521b0fad7"
