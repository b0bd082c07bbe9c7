"""What people read: ages, cards, marked rules, explained errors, and how they name somebody."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, RenderableType
from sima.profile.v1.profile_service_pb2 import Consent, Profile, SourcedValue, Trait
from sima.segment.v1.segment_service_pb2 import RuleProblem
from sima.type.v1.fact_pb2 import CONSENT_STATUS_DENIED, METHOD_DECLARED, METHOD_OBSERVED, Method
from sima.type.v1.identifier_pb2 import Identifier
from sima.type.v1.value_pb2 import Value
from sima_cli import shapes
from sima_cli.commands.profile import telling_of_regions
from sima_cli.errors import CommandError, RefusedError
from sima_cli.failures import explained
from sima_cli.keys import KEY_HELP, memberships_request, profile_key
from sima_cli.output import age, console, profile_card, rule_problems, table
from sima_runtime.errors import (
    AlreadyExistsError,
    ContradictionError,
    DeadlineExceededError,
    DependencyUnavailableError,
    InUseError,
    InvalidFieldsError,
    NotFoundError,
    RemoteError,
    SimaError,
    Violation,
)
from sima_sdk.identifiers import normalise_phone

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def printed(part: RenderableType) -> str:
    """What a terminal of 100 columns shows."""
    terminal = Console(width=100, color_system=None)
    with terminal.capture() as capture:
        terminal.print(part)
    return capture.get()


def sourced(text: str, source: str, method: "Method.ValueType", days: int) -> SourcedValue:
    """A value that was observed some days ago."""
    observed = Timestamp()
    observed.FromDatetime(datetime.now(UTC) - timedelta(days=days))
    return SourcedValue(value=Value(text=text), source=source, method=method, observed_at=observed, confidence=1.0)


@pytest.fixture
def profile() -> Profile:
    """Somebody whom two channels see differently."""
    city = Trait(
        trait="city",
        values=[sourced("Riyadh", "crm", METHOD_DECLARED, 3)],
        alternatives=[sourced("Berlin", "web", METHOD_OBSERVED, 400)],
        contradiction=True,
    )
    return Profile(
        profile_id="0f" * 16,
        identifiers=[Identifier(kind="email", value="ada@example.com"), Identifier(kind="passport", key=b"k" * 16)],
        traits=[city],
        consents=[Consent(purpose="email_marketing", status=CONSENT_STATUS_DENIED, source="crm")],
        event_count=7,
    )


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (timedelta(seconds=20), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=5), "5 hours ago"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=20), "2 weeks ago"),
        (timedelta(days=70), "2 months ago"),
        (timedelta(days=800), "2 years ago"),
    ],
)
def test_ages_are_said_as_people_say_them(passed: timedelta, said: str) -> None:
    """One unit, rounded down."""
    assert age(NOW - passed, NOW) == said


def test_the_card_shows_where_every_value_is_from_and_what_lost(profile: Profile) -> None:
    """Source, method and age stand beside the value that counts and beside those that do not."""
    lines = printed(profile_card(profile, ["vip"])).splitlines()
    chosen = next(line for line in lines if "Riyadh" in line)
    lost = next(line for line in lines if "Berlin" in line)
    assert all(word in chosen for word in ("city ⚠", "crm", "declared", "3 days ago"))
    assert all(word in lost for word in ("╰", "web", "observed", "1 year ago"))
    assert any("✗ email_marketing" in line for line in lines)
    assert any("vip" in line for line in lines)


def test_nothing_that_a_channel_sent_steers_the_terminal(profile: Profile) -> None:
    """Control characters and turns of direction are shown as what they are; joiners of Persian stay."""
    profile.traits[0].values[0].value.text = "\x1b]0;pwned\x07\u202e می\u200cخواهم"
    profile.identifiers.add(kind="user_id", value="\x1b[2J")
    card = printed(profile_card(profile))
    assert "\\u001b]0;pwned\\u0007\\u202e می\u200cخواهم" in card
    assert "\\u001b[2J" in card
    assert not {"\x1b", "\x07", "\u202e"} & set(card)


def test_a_profile_as_json_keeps_everything(profile: Profile) -> None:
    """Programs see what people see, and protected values only by their key."""
    shape = shapes.profile(profile)
    assert shape["identifiers"] == ["email:ada@example.com", f"passport:{(b'k' * 16).hex()}"]
    assert shape["traits"]["city"]["values"][0]["value"] == "Riyadh"
    assert shape["traits"]["city"]["alternatives"][0]["method"] == "observed"
    assert shape["traits"]["city"]["contradiction"] is True
    assert shape["consents"]["email_marketing"]["granted"] is False
    assert shape["event_count"] == 7


def test_mistakes_in_a_rule_are_marked_where_they_are() -> None:
    """The caret stands under the column, also behind wide letters and in later lines, with what was meant below."""
    rule = 'traits.city == "東京" &&\n  trait.age > 3'
    problems = [RuleProblem(message="unknown name", line=2, column=3, suggestion="traits.age")]
    assert rule_problems(rule, problems).splitlines() == [
        "    trait.age > 3",
        "    ^ unknown name",
        "  Perhaps: traits.age",
    ]
    wide = rule_problems('x == "東京" + y', [RuleProblem(message="here", line=1, column=13)]).splitlines()
    assert wide[1].index("^") == len('  x == "東京" + ') + 2


def test_lines_stay_whole_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    """What is piped on is not wrapped: neither paths nor cells of tables are broken."""
    path = "/".join(["folder with spaces"] * 20)
    console().print(table("", ("file", "#accepted"), [(path, "1")]))
    console(stderr=True).print(path)
    printed = capsys.readouterr()
    assert path in printed.out
    assert printed.err == f"{path}\n"


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (InvalidFieldsError([Violation("a", "wrong"), Violation("b", "bad")]), 3, ["a: wrong", "b: bad"]),
        (NotFoundError("segment", "vip"), 3, ["no segment 'vip'"]),
        (NotFoundError("profile", "loyalty_card"), 3, ["Nobody is known by this loyalty card."]),
        (NotFoundError("profile", "0f" * 16), 3, [f"no profile '{'0f' * 16}'"]),
        (AlreadyExistsError("segment", "vip"), 3, ["'vip' already", "sima segment update vip"]),
        (InUseError("segment", "vip", "loyal"), 3, ["still used by loyal"]),
        (NotFoundError("identifier", "unseen"), 3, ["never seen one of these"]),
        (ContradictionError("0a1b"), 3, ["decision 0a1b", "sima identity withdraw 0a1b"]),
        (DependencyUnavailableError("profile"), 4, ["profile does not answer", "again"]),
        (DeadlineExceededError(), 4, ["may be done all the same"]),
        (RemoteError("profile", "UNAUTHENTICATED"), 3, ["--token-file"]),
        (RemoteError("profile", "PERMISSION_DENIED"), 3, ["does not allow"]),
        (RemoteError("profile", "INTERNAL", "abc-1"), 1, ["profile failed with INTERNAL", "abc-1"]),
        (TimeoutError("PostgreSQL did not start"), 4, ["PostgreSQL did not start"]),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates"), 3, ["no text in UTF-8"]),
        (CommandError("say it"), 1, ["say it"]),
    ],
)
def test_every_error_is_explained_and_has_its_exit_code(
    error: CommandError | SimaError | TimeoutError | UnicodeEncodeError, code: int, says: list[str]
) -> None:
    """One paragraph with all violations, and a code that scripts can rely on."""
    failure = explained(error)
    assert failure.exit_code == code
    assert all(text in str(failure) for text in says)


def test_people_are_named_by_any_identifier_or_by_profile_id() -> None:
    """The kind ends at the first colon, so values may hold colons."""
    assert profile_key("social_handle:instagram:ada", None).identifier.value == "instagram:ada"
    assert profile_key("phone:0912 345 6789", "IR").default_region == "IR"
    assert profile_key("3eca35e373945baf5788c38807b61a67", None).profile_id == "3eca35e373945baf5788c38807b61a67"


@pytest.mark.parametrize("text", ["3ECA35E373945BAF5788C38807B61A67", "3eca35e3-7394-5baf-5788-c38807b61a67"])
def test_a_profile_id_may_be_written_as_other_programs_write_it(text: str) -> None:
    """With hyphens or in capitals; the services are asked for it as they write it."""
    assert profile_key(text, None).profile_id == "3eca35e373945baf5788c38807b61a67"
    assert memberships_request(text, None).profile_id == "3eca35e373945baf5788c38807b61a67"


@pytest.mark.parametrize("text", ["ada", "email:", ":ada", ""])
def test_what_names_nobody_is_explained(text: str) -> None:
    """Neither an identifier nor a profile id: the text says what is expected."""
    with pytest.raises(RefusedError, match="KIND:VALUE"):
        profile_key(text, None)


def test_the_example_of_a_phone_number_works_alone() -> None:
    """The help names one with its country code, and `--region` for those without."""
    number = re.search(r"phone:'([^']+)'", KEY_HELP)
    assert number is not None
    assert normalise_phone(number[1])
    assert "--region" in KEY_HELP


@pytest.mark.parametrize(
    ("key", "region", "hinted"),
    [
        ("phone:0912 345 6789", None, True),
        ("phone:0912", "IR", False),
        ("phone:+49 1", None, False),
        ("email:ada", None, False),
    ],
)
def test_a_local_number_that_is_refused_is_told_of_the_region(key: str, region: str | None, hinted: bool) -> None:
    """Only where a region was missing, behind what the service said."""
    refused = InvalidFieldsError([Violation("key.identifier.value", "expected something else")])
    with pytest.raises((RefusedError, InvalidFieldsError)) as raised, telling_of_regions(key, region):
        raise refused
    assert "expected something else" in str(raised.value)
    assert ("--region" in str(raised.value)) is hinted
