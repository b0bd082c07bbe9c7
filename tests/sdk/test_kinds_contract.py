"""The built-in kinds of identifiers keep the promises that a plugin's kind must keep."""

import pytest
from sima_sdk.identifiers import BUILT_IN_KINDS
from sima_sdk.testing.kinds import IdentifierKindContract, KindSubject


class TestEmail(IdentifierKindContract):
    """The kind `email`."""

    @pytest.fixture
    def subject(self) -> KindSubject:
        """Plain addresses and international ones."""
        spellings = {"Ada@Example.COM": "ada@example.com", "علي@MÜNCHEN.de": "علی@xn--mnchen-3ya.de"}
        return KindSubject(BUILT_IN_KINDS["email"], spellings, ("", "n/a", "ada@", "ada@localhost"))


class TestPhone(IdentifierKindContract):
    """The kind `phone`."""

    @pytest.fixture
    def subject(self) -> KindSubject:
        """Local and international numbers."""
        spellings = {"٠٥٠ ١٢٣ ٤٥٦٧": "+966501234567", "+49 151 23456789": "+4915123456789"}
        return KindSubject(BUILT_IN_KINDS["phone"], spellings, ("", "n/a", "0000000000", "+49"), region="SA")


class TestHandle(IdentifierKindContract):
    """The kind `social_handle`."""

    @pytest.fixture
    def subject(self) -> KindSubject:
        """With and without an @."""
        return KindSubject(BUILT_IN_KINDS["social_handle"], {"Instagram: @Ada.L": "instagram:ada.l"}, ("", "\x00"))


class TestDomain(IdentifierKindContract):
    """The kind `domain`."""

    @pytest.fixture
    def subject(self) -> KindSubject:
        """Bare, as web addresses, with and without `www` before them."""
        spellings = {
            "https://www.Acme.com:443/about?x=1#y": "acme.com",
            "//WWW.acme.co.uk.": "acme.co.uk",
            "mywww.acme.com": "mywww.acme.com",
            "shop.www.acme.com": "shop.www.acme.com",
            "www.com": "www.com",
            "bücher.de": "xn--bcher-kva.de",
        }
        wrong = ("", "acme", "10.0.0.1", "ada@acme.com", "https://ada@acme.com", "acme.test")
        return KindSubject(BUILT_IN_KINDS["domain"], spellings, wrong)


class TestDocument(IdentifierKindContract):
    """The kind `loyalty_card`, whose normal form passports and national ids share."""

    @pytest.fixture
    def subject(self) -> KindSubject:
        """In printed groups."""
        return KindSubject(BUILT_IN_KINDS["loyalty_card"], {"sima 1234-5678": "SIMA12345678"}, ("", " - ", "a\x01"))


class TestOpaque(IdentifierKindContract):
    """The kind `user_id`, whose normal form devices and cookies share."""

    @pytest.fixture
    def subject(self) -> KindSubject:
        """As the channel wrote it."""
        return KindSubject(
            BUILT_IN_KINDS["user_id"], {" shopify:42 ": "shopify:42", "Ab-c": "Ab-c"}, ("", " ", "\ud800")
        )
