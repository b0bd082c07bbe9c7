"""Values that people and programs write where they know none: they name nobody, so they must never join anybody.

A value is junk only as a whole, in its normal form. `n/a` is junk, `n/a-4711` is not. What counts depends on the kind:
seven equal digits are no phone number and no loyalty card, but they may well be the running number of a user.
"""

import re
from collections.abc import Callable, Iterator

from sima_sdk.text import fold

_ENGLISH = """
    n/a|na|none|null|nil|nan|no|not available|not applicable|not provided|not set|not known|unknown|undefined|empty
    |blank|missing|tbd|test|tests|tester|testing|test user|dummy|fake|example|sample|asdf|asdfgh|qwerty|foo|bar|foobar
    |anonymous|anon|guest|nobody|noone|no one|someone|deleted|redacted|removed|invalid|default|true|false|object object
    |no email|noemail|no mail|nomail|no phone|nophone|no name|noname"""
_ARABIC = """
    لا يوجد|لايوجد|لا شيء|غير معروف|غير متوفر|غير متاح|غير محدد|غير موجود|لا ينطبق|مجهول|فارغ|بدون|تجربة|تجربه|اختبار
    |بدون بريد|بدون إيميل|بدون هاتف|بدون رقم|محذوف|ضيف"""
_PERSIAN = """
    ندارد|ندارم|نامشخص|نامعلوم|ناشناس|هیچ|هیچکدام|خالی|تست|آزمایش|آزمایشی|وارد نشده|ثبت نشده|تعریف نشده|موجود نیست
    |بدون ایمیل|بدون شماره|بدون نام|حذف شده|مهمان|نمیدانم|نمی دانم"""
# Identifiers that whole series of devices and programs have in common.
_EVERYBODYS_DEVICE = frozenset({"9774d56d682e549c", "02:00:00:00:00:00", "020000000000", "dead00beef", "deadbeef"})
# Mailboxes that no person reads, at any domain.
_NO_PERSONS_MAILBOX = """
    noreply|no-reply|no_reply|donotreply|do-not-reply|mailer-daemon|postmaster|hostmaster|abuse|devnull|nobody|null
    |undefined|noemail|no-email|no_email|nomail|no-mail|none"""
# Mailboxes of a company or an office, which many people give as theirs, at any domain.
_ROLE_MAILBOX = """
    info|information|contact|contactus|contact-us|kontakt|office|buero|sales|verkauf|support|help|helpdesk|service
    |customerservice|customer-service|kundenservice|admin|administrator|administration|webmaster|root|reception|enquiries
    |enquiry|inquiries|inquiry|hello|team|staff|all|everyone|billing|accounting|accounts|invoice|invoices|rechnung|finance
    |hr|jobs|careers|recruiting|marketing|press|presse|media|newsletter|news|orders|order|bestellung|shop|store|booking
    |reservations|legal|privacy|datenschutz|security|feedback"""
# Beside these, only at domains that stand for "any domain".
_ANY_MAILBOX = """
    test|tests|tester|testing|user|username|name|yourname|your.name|firstname.lastname|email|youremail|your.email|mail|me
    |you|someone|somebody|anyone|noone|no|na|n.a|unknown|abc|abcd|abc123|asdf|asdfgh|qwerty|foo|bar|dummy|fake|sample
    |example|customer|guest|anonymous|invalid|x|xx|xxx|a|aa|aaa"""
_ANY_DOMAIN = """
    example|test|testing|domain|yourdomain|mydomain|email|mail|none|null|noemail|nomail|na|no|fake|dummy|abc|asdf|foo|bar
    |xxx|xx|x|a|aa|aaa|unknown|invalid|sample|company|website|localhost"""
# At the large providers everybody's guess is taken by somebody, but those who write it are others.
_GUESSED_MAILBOX = (
    "test|tests|testing|test123|tester|no|na|unknown|abc|abc123|asdf|asdfgh|qwerty|dummy|fake|example|xxx"
)
_LARGE_PROVIDER = (
    "gmail|googlemail|yahoo|ymail|hotmail|outlook|live|msn|icloud|aol|gmx|mail|web|yandex|proton|protonmail"
)
# Where people of all companies have their mailboxes; where nobody sits; and what stands in forms as the example.
_NO_COMPANYS_DOMAIN = """
    gmail.com|googlemail.com|yahoo.com|ymail.com|rocketmail.com|hotmail.com|outlook.com|live.com|msn.com|icloud.com|me.com
    |mac.com|aol.com|gmx.com|gmx.de|gmx.net|gmx.at|gmx.ch|mail.com|mail.ru|web.de|yandex.com|yandex.ru|proton.me
    |protonmail.com|pm.me|t-online.de|freenet.de|posteo.de|mailbox.org|fastmail.com|hushmail.com|tutanota.com|tuta.io
    |zohomail.com|inbox.com|bk.ru|list.ru|rambler.ru|qq.com|163.com|126.com|sina.com|naver.com|daum.net|hanmail.net
    |rediffmail.com|laposte.net|libero.it|virgilio.it|wp.pl|o2.pl|onet.pl|seznam.cz|maktoob.com|chmail.ir|mailfa.com
    |vatanmail.ir|example.com|example.net|example.org|domain.com|yourdomain.com|mydomain.com|yourcompany.com|company.com
    |website.com|yourwebsite.com|test.com|none.com|noemail.com"""
# The same providers in their countries.
_PROVIDER_ABROAD = re.compile(r"(?:yahoo|ymail|hotmail|outlook|live|yandex)\.(?:com?\.)?[a-z]{2}")

_COUNTING = (
    "1234567890",
    "123456789",
    "12345678",
    "1234567",
    "123456",
    "0123456789",
    "9876543210",
    "987654321",
    "87654321",
)


def is_junk(kind: str, value: str) -> bool:
    """Whether a normalised value is known junk for its kind."""
    return _IS_JUNK.get(kind, _is_junk_id)(value)


def junk_documents() -> Iterator[str]:
    """Yield the junk among numbers of documents, of which identity sees only keys and so cannot match patterns."""
    yield from (phrase.replace(" ", "").upper() for phrase in _WORDS)
    yield from ("N/A", "N.A.", "N.A", "?", "??", "???", "_", "__", ".", "..", "...", "X", "XX", "XXX", "XXXX")
    yield from _COUNTING
    yield from (digit * length for digit in "0123456789" for length in range(1 if digit == "0" else 4, 21))


def _phrases(text: str) -> list[str]:
    return [" ".join(phrase.split()) for phrase in text.split("|")]


def _bare(value: str) -> str:
    """The words of a value as they are compared: folded, in small letters, without signs between them."""
    return " ".join(_SIGNS.sub(" ", fold(value).casefold()).split())


_SIGNS = re.compile(r"[\W_]+")
_WORDS = frozenset(_bare(phrase) for text in (_ENGLISH, _ARABIC, _PERSIAN) for phrase in _phrases(text))
_NO_COMPANYS_DOMAINS = frozenset(_phrases(_NO_COMPANYS_DOMAIN))
_ZEROS = re.compile(r"[0 ]+")
_REPEATED = re.compile(r"[\W_]*([0-9a-z])(?:[\W_]*\1){7,}[\W_]*", re.IGNORECASE)
_NUMBER = re.compile(r"[1-9]")  # no word has one: most ids need no closer look
_REPEATED_DIGIT = re.compile(r"(\d)\1{5,}")
_JUNK_PHONE = re.compile(r"\+\d{1,3}(\d)\1{6,}|\+\d{1,4}12345678(?:90?)?")


def _one_of(*texts: str) -> str:
    return "|".join(re.escape(phrase) for text in texts for phrase in _phrases(text))


_TOP = r"\.(?:(?:com?|org|net|ac)\.)?[a-z]{2,}"
_JUNK_EMAIL = re.compile(
    rf"(?:{_one_of(_NO_PERSONS_MAILBOX, _ROLE_MAILBOX)})(?:\+[^@]*)?@.*"
    rf"|(?:{_one_of(_ANY_MAILBOX)})\d*(?:\+[^@]*)?@(?:{_one_of(_ANY_DOMAIN)}){_TOP}"
    rf"|(?:{_one_of(_GUESSED_MAILBOX)})@(?:{_one_of(_LARGE_PROVIDER)}){_TOP}"
)


def _says_nothing(bare: str) -> bool:
    return bare in _WORDS or bare == "" or _ZEROS.fullmatch(bare) is not None


def _is_junk_id(value: str) -> bool:
    """Ids that a system gave: any number is possible but zero; namespaces before the id do not make it better."""
    namespace, _, number = value.rpartition(":")
    if _NUMBER.search(number):
        return False
    bare = _bare(number)
    if _ZEROS.fullmatch(bare):  # as the last of several parts with numbers it may be one of them, as in 4e:11:00
        return ":" not in namespace or not _NUMBER.search(namespace)
    return bare == "" or bare in _WORDS or _bare(value) in _WORDS


def _is_junk_machine_id(value: str) -> bool:
    if value.lower() in _EVERYBODYS_DEVICE or _REPEATED.fullmatch(value):
        return True
    return not _NUMBER.search(value) and _says_nothing(_bare(value))


def _is_junk_document(value: str) -> bool:
    bare = _bare(value)
    number = bare.replace(" ", "")
    return _says_nothing(bare) or number in _COUNTING or _REPEATED_DIGIT.fullmatch(number) is not None


def _is_junk_email(value: str) -> bool:
    return _JUNK_EMAIL.fullmatch(value) is not None


def _is_junk_domain(value: str) -> bool:
    return value in _NO_COMPANYS_DOMAINS or _PROVIDER_ABROAD.fullmatch(value) is not None


def _is_junk_phone(value: str) -> bool:
    return _JUNK_PHONE.fullmatch(value) is not None


_IS_JUNK: dict[str, Callable[[str], bool]] = {
    "email": _is_junk_email,
    "phone": _is_junk_phone,
    "device_id": _is_junk_machine_id,
    "anonymous_id": _is_junk_machine_id,
    "loyalty_card": _is_junk_document,
    "tax_number": _is_junk_document,
    "domain": _is_junk_domain,
}
