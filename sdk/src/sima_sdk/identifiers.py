"""Kinds of identifiers: how each is brought into its one normal form, and how strongly it binds.

Everything here is pure. A normal form that changes would change every stored key, so a change of meaning raises
`NORMALISATION_VERSION`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from hashlib import blake2b

import email_validator
import phonenumbers

from sima_sdk.errors import FixConfigurationError, InvalidIdentifierError
from sima_sdk.text import fold

#: Raised whenever a value gets another normal form than before.
NORMALISATION_VERSION = 1
#: Longest value of an identifier, in characters, before and after it is normalised.
MAX_LENGTH = 512
#: Said of what is no region.
REGION_EXPECTED = "expected a region of ISO 3166 that has phone numbers, such as GB or SA"

_KEY_BYTES = 16
_CACHED_VALUES = 1 << 16
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_GROUPING = re.compile(r"[\s-]+")
_ATEXT = r"[a-z0-9_!#$%&'*+/=?^`{|}~-]+"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# Addresses that the library would return as they are: no IDNA label, no doubled hyphen that it treats specially.
_PLAIN_EMAIL = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*@(?!.*--)(?:{_LABEL}\.)+[a-z]{{2,63}}")
_AROUND_HOST = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//|[/?#].*|:\d+(?=[/?#]|$)", re.DOTALL)
_WWW = re.compile(r"^(?:www\.)+(?=[^.]+\.)")
_RESERVED_DOMAINS = tuple("." + name for name in email_validator.SPECIAL_USE_DOMAIN_NAMES)


@dataclass(frozen=True, slots=True)
class IdentifierKind:
    """How identifiers of one kind are normalised, and what identity may conclude from them.

    Attributes:
        name: The kind, in snake_case.
        normalise: Takes the value as a channel wrote it and the two-letter region of local phone numbers (or None),
            returns the normal form and raises InvalidIdentifierError if there is none. Pure; what it returns for its
            own result is that result.
        priority: From 1 to 100; the strongest identifier of a fact owns it.
        strong: Such an identifier names one person; a weak one (a cookie, a device) may lead to several.
        protected: The value is never stored, only its key.
        most_per_profile: No profile gets more identifiers of this kind than this.
        shared_above: An identifier seen with more distinct strong identifiers than this belongs to nobody alone.
        most_per_period: No profile gets more identifiers of this kind than this that were seen first within one
            `period`, wherever it begins. None: any number.
        period: How long a period is.
        account: Such an identifier names a company, to which people belong, and never a person.
    """

    name: str
    normalise: Callable[[str, str | None], str]
    priority: int
    strong: bool
    protected: bool = False
    most_per_profile: int = 10
    shared_above: int = 20
    most_per_period: int | None = None
    period: timedelta = timedelta(days=1)
    account: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise FixConfigurationError("identifier kind: the name must be in snake_case, at most 63 characters")
        limits = (self.most_per_profile, self.shared_above, 1 if self.most_per_period is None else self.most_per_period)
        if not 1 <= self.priority <= 100 or min(limits) < 1:
            raise FixConfigurationError(f"identifier kind {self.name}: priority must be 1 to 100, limits at least 1")
        if self.period <= timedelta():
            raise FixConfigurationError(f"identifier kind {self.name}: the period must be longer than nothing")

    @property
    def rank(self) -> tuple[bool, int]:
        """What sorts the strongest kind first: those of people before those of companies, then by priority."""
        return self.account, -self.priority


class IdentifierKinds(Mapping[str, IdentifierKind]):
    """All kinds that are known, by name; remembers the normal forms that it was asked for last."""

    def __init__(self, kinds: Mapping[str, IdentifierKind]) -> None:
        self._kinds = dict(kinds)
        self._cached = lru_cache(_CACHED_VALUES)(self._normalise)
        # A protected value must not outlive its call, so it is never remembered.
        self._protected = frozenset(name for name, kind in self._kinds.items() if kind.protected)

    def __getitem__(self, name: str) -> IdentifierKind:
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def normalise(self, kind: str, value: str, default_region: str | None = None) -> str:
        """Return the normal form of a value.

        Raises:
            InvalidIdentifierError: The kind is unknown or the value has no normal form.
        """
        if kind in self._protected:
            return self._normalise(kind, value, default_region)
        return self._cached(kind, value, default_region)

    def _normalise(self, kind: str, value: str, default_region: str | None) -> str:
        if kind not in self._kinds:
            raise InvalidIdentifierError(kind_expected(self._kinds))
        if len(value) > MAX_LENGTH:
            raise InvalidIdentifierError(f"{kind}: expected at most {MAX_LENGTH} characters")
        normal = self._kinds[kind].normalise(value, default_region)
        if not 0 < len(normal) <= MAX_LENGTH:
            raise InvalidIdentifierError(f"{kind}: expected 1 to {MAX_LENGTH} characters")
        return normal


def kind_expected(names: Iterable[str]) -> str:
    """Return what to say where a kind is none of those that are known."""
    return f"expected a known kind of identifier: {', '.join(sorted(names))}"


def identifier_key(secret: bytes, kind: str, value: str) -> bytes:
    """Return the 16-byte key of a normalised value; without the workspace's secret it cannot be computed or guessed."""
    return blake2b(f"{kind}\x1f{value}".encode(), digest_size=_KEY_BYTES, key=secret).digest()


def is_region(text: str) -> bool:
    """Whether it is the two-letter code, in any case, of a region in which local phone numbers can be read."""
    return text.isascii() and text.upper() in phonenumbers.SUPPORTED_REGIONS


def normalise_email(value: str, _region: str | None = None) -> str:
    """Return an address in lower case with its domain in IDNA's ASCII form.

    Raises:
        InvalidIdentifierError: It is no e-mail address.
    """
    text = fold(value).strip().lower()
    if len(text) <= 254 and _PLAIN_EMAIL.fullmatch(text) and not text.endswith(_RESERVED_DOMAINS):
        return text
    try:
        address = email_validator.validate_email(unicodedata.normalize("NFKC", text), check_deliverability=False)
    except (email_validator.EmailNotValidError, UnicodeError):
        raise InvalidIdentifierError("email: expected an e-mail address") from None
    return f"{address.local_part}@{address.ascii_domain}"


def normalise_phone(value: str, region: str | None = None) -> str:
    """Return a phone number in E.164, reading a number without country code as one of the region.

    Raises:
        InvalidIdentifierError: No such number can exist, or it leads to an extension, behind which others sit too.
    """
    try:
        number = phonenumbers.parse(fold(value), region)
    except phonenumbers.NumberParseException:
        raise InvalidIdentifierError("phone: expected a phone number, with country code or a known region") from None
    if number.extension or not phonenumbers.is_valid_number(number):
        raise InvalidIdentifierError("phone: expected a number that can be dialled, without extension")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def normalise_opaque(value: str, _region: str | None = None) -> str:
    """Return an id as its channel means it: folded and trimmed, its case kept.

    Raises:
        InvalidIdentifierError: It is empty or holds control characters.
    """
    text = fold(value).strip()
    if not text:
        raise InvalidIdentifierError("expected a text that is not empty")
    if _UNPRINTABLE.search(text):
        raise InvalidIdentifierError("expected a text without control characters")
    return text


def normalise_handle(value: str, _region: str | None = None) -> str:
    """Return `network:name` in lower case, for networks do not tell case apart; an @ before the name falls away.

    Raises:
        InvalidIdentifierError: It is empty or holds control characters.
    """
    network, colon, name = normalise_opaque(value).lower().rpartition(":")
    return normalise_opaque(f"{network.rstrip()}{colon}{name.lstrip(' @')}")


def normalise_document(value: str, _region: str | None = None) -> str:
    """Return the number of a card or document in upper case, without the blanks and hyphens of its printed groups.

    Raises:
        InvalidIdentifierError: It is empty or holds control characters.
    """
    return normalise_opaque(_GROUPING.sub("", normalise_opaque(value)).upper())


def normalise_domain(value: str, _region: str | None = None) -> str:
    """Return the domain of a company in IDNA's ASCII form; of a web address its host, without `www` before it.

    Raises:
        InvalidIdentifierError: It holds no domain that the internet could know.
    """
    host = _AROUND_HOST.sub("", fold(value).strip().lower()).rstrip(".")
    try:  # the library checks domains as parts of addresses
        return normalise_email(f"a@{_WWW.sub('', host)}").removeprefix("a@")
    except InvalidIdentifierError:
        raise InvalidIdentifierError("domain: expected a domain such as example.com") from None


_BUILT_IN = (
    IdentifierKind("user_id", normalise_opaque, 90, strong=True, most_per_profile=20, shared_above=100),
    IdentifierKind("passport", normalise_document, 85, strong=True, protected=True, most_per_profile=4),
    IdentifierKind("national_id", normalise_document, 84, strong=True, protected=True, most_per_profile=2),
    IdentifierKind("loyalty_card", normalise_document, 80, strong=True),
    IdentifierKind("email", normalise_email, 70, strong=True, most_per_profile=20, shared_above=50),
    IdentifierKind("phone", normalise_phone, 60, strong=True),
    IdentifierKind("social_handle", normalise_handle, 50, strong=True, most_per_profile=20),
    IdentifierKind("device_id", normalise_opaque, 30, strong=False, most_per_profile=100),
    IdentifierKind("anonymous_id", normalise_opaque, 20, strong=False, most_per_profile=1000),
    IdentifierKind("account_id", normalise_opaque, 90, strong=True, most_per_profile=20, account=True),
    IdentifierKind("tax_number", normalise_document, 80, strong=True, account=True),
    IdentifierKind("domain", normalise_domain, 70, strong=True, most_per_profile=50, account=True),
)
#: The kinds that Sima knows without any plugin: of people, then of companies, the strongest of each first.
BUILT_IN_KINDS: Mapping[str, IdentifierKind] = {kind.name: kind for kind in _BUILT_IN}
