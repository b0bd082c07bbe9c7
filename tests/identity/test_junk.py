"""Values that name nobody, and those near them that do."""

import pytest
from sima_identity.junk import is_junk, junk_documents
from sima_sdk.identifiers import BUILT_IN_KINDS, IdentifierKinds

KINDS = IdentifierKinds(BUILT_IN_KINDS)

JUNK = {
    "user_id": [
        "n/a", "N/A", "none", "NULL", "undefined", "-", "0", "000", "unknown", "Not Available", "shopify:null",
        "shopify:", "crm:0", "guest", "ERP:unknown", "Kasse 2:null", "متجر:unknown", "shop:erp:null", "shop2:0", "N:A",
        "لا يوجد", "غير معروف", "ندارد", "نامشخص", "تست", "[object Object]",
    ],
    "anonymous_id": ["null", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "0"],
    "device_id": ["00000000-0000-0000-0000-000000000000", "9774d56d682e549c", "02:00:00:00:00:00", "unknown"],
    "loyalty_card": ["0000000000", "1111111111", "1234567890", "123456", "n/a", "0"],
    "social_handle": ["instagram:none", "instagram:unknown", "n/a"],
    "email": [
        "test@test.com", "TEST@example.com", "test@example.org", "test1@example.net", "none@none.com", "na@na.com",
        "noreply@shop.example.com", "no-reply@zalando.de", "a@a.com", "user@domain.com", "test@gmail.com",
        "noemail@noemail.com", "mailer-daemon@uni.edu", "test+1@test.com", "test@example.co.uk", "n.a@none.com",
        "info@firma.de", "Sales@Shop.example.com", "customer-service@shop.ir", "info+berlin@uni.edu",
    ],
    "phone": ["+989123456789", "+966512345678", "+445555555555"],
}  # fmt: skip
NO_JUNK = {
    "user_id": [
        "nonette", "n/a-4711", "1", "7", "111111", "12345678", "shopify:207119551", "hubspot:12", "tester-jones",
        "0x0a", "نوید", "مجهولات", "unknown:ada", "a4:5e:60:c2:11:00", "https://id.example.com/unknown-7",
        "shop:nullam",
    ],
    "anonymous_id": ["0a1b2c", "nullam", "a4:5e:60:c2:11:00", "00000000-0000-0000-0000-000000000001"],
    "device_id": ["a4:5e:60:c2:11:00", "9774d56d682e549d"],
    "loyalty_card": ["1000000000", "11112222", "12345679", "777"],
    "social_handle": ["instagram:none_other", "facebook:1000000"],
    "email": [
        "ada@example.com", "ada.test@gmail.com", "testa@test.com", "nora@none.com", "na@uni.edu", "info.ada@firma.de",
        "infos@firma.de", "sally@sales.de",
        "bob.norman@hostmail.com", "mail@anna.de", "anonymous@berlin.de", "a@x.firma.de", "test@test.firma.de",
    ],
    "phone": ["+989121234560", "+966551234567", "+4930901820", "+12025550123"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in JUNK.items() for value in values])
def test_junk_names_nobody(kind: str, value: str) -> None:
    """What people and programs write for want of a value is recognised in its normal form."""
    assert is_junk(kind, KINDS.normalise(kind, value))


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in NO_JUNK.items() for value in values])
def test_a_value_near_junk_still_names_somebody(kind: str, value: str) -> None:
    """Only whole values are junk: nobody is lost for a name that begins like it."""
    assert not is_junk(kind, KINDS.normalise(kind, value))


@pytest.mark.parametrize(
    "value", ["n/a", "none", "0000000000", "0", "1111111", "1234567890", "ندارد", "not available", "XXXX"]
)
def test_junk_among_protected_numbers_is_listed_in_normal_form(value: str) -> None:
    """Of a passport only the key is seen, so its junk is known by heart."""
    assert KINDS.normalise("passport", value) in set(junk_documents())


def test_listed_junk_is_in_normal_form() -> None:
    """No entry of the list is in vain: each is a value that a channel's spelling can be normalised to."""
    assert all(KINDS.normalise("passport", value) == value for value in junk_documents())
