"""The rules of identity in `sima.yaml`: what is written there is what the service is told, and what it answers."""

import re
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
import yaml
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier
from sima_cli.commands.policy import policy_text
from sima_cli.config import read_rules, rules_at_start
from sima_cli.errors import MisconfiguredError
from sima_cli.rules import IdentityRules, as_yaml, from_message, place_in_file, to_message

NUMBERS = st.integers(0, 1_000_000_000)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NAMES = st.from_regex("[a-z][a-z0-9_]{0,20}", fullmatch=True)
FLAGS = st.booleans()
PERIODS = st.builds(str.__add__, st.integers(1, 100_000).map(str), st.sampled_from("smhdw"))
LIMITS = dict.fromkeys(("priority", "most_per_profile", "most_per_period", "shared_above"), NUMBERS)
VALUES = st.builds("{}:{}".format, NAMES, TEXTS) | st.fixed_dictionaries(
    {"kind": NAMES, "key": st.from_regex("[0-9a-f]{32}", fullmatch=True)}
)
BLOCKED = {
    "patterns": st.dictionaries(NAMES, st.lists(TEXTS, min_size=1, max_size=3), max_size=3),
    "values": st.lists(VALUES, max_size=3),
}
#: Whatever may stand in a file, every key of which may be missing.
RULES = st.fixed_dictionaries(
    {},
    optional={
        "most_identifiers": NUMBERS,
        "known_junk": FLAGS,
        "kinds": st.dictionaries(
            NAMES, st.fixed_dictionaries({}, optional={"strong": FLAGS, "period": PERIODS, **LIMITS}), max_size=3
        ),
        "blocked": st.fixed_dictionaries({}, optional=BLOCKED),
    },
).map(IdentityRules.model_validate)


def read(text: str) -> IdentityRules:
    """What a file says."""
    with NamedTemporaryFile(suffix="sima.yaml") as file:
        file.write(text.encode())
        file.flush()
        return read_rules(Path(file.name)).rules


@given(rules=RULES)
def test_what_a_file_says_comes_back_as_it_was(rules: IdentityRules) -> None:
    """From a file to a message and back, and from rules to a file and back, nothing changes."""
    assert from_message(to_message(rules)) == rules
    assert read(as_yaml(rules)) == rules
    assert to_message(read(as_yaml(from_message(to_message(rules))))) == to_message(rules)


def test_the_whole_of_a_file_is_told() -> None:
    """Every key that there is, as people write it."""
    rules = read(
        """
identity:
  most_identifiers: 500
  known_junk: false
  kinds:
    phone: {strong: true, priority: 50, most_per_profile: 10, most_per_period: 3, period: 24h, shared_above: 5}
  blocked:
    patterns: {email: ['till-[0-9]+@shop[.]example']}
    values: ["email:kiosk@shop.example", {kind: passport, key: 000102030405060708090a0b0c0d0e0f}]
"""
    )
    phone = pb.KindRules(kind="phone", strong=True, priority=50, most_per_profile=10, most_per_period=3, shared_above=5)
    phone.period.CopyFrom(Duration(seconds=86_400))
    assert to_message(rules) == pb.IdentityPolicy(
        kinds=[phone],
        blocked_patterns=[pb.BlockedPattern(kind="email", pattern="till-[0-9]+@shop[.]example")],
        blocked_values=[
            Identifier(kind="email", value="kiosk@shop.example"),
            Identifier(kind="passport", key=bytes(range(16))),
        ],
        known_junk=False,
        most_identifiers=500,
    )


MISTAKES = {
    "identity: {kinds: {phone: {shared_abov: 777}}}": "identity.kinds.phone.shared_abov: expected no such key",
    "identity: {kind: {}}": "identity.kind: expected no such key",
    "identity: {}\nsegments: 777": "segments: expected no such key",
    "identity: {kinds: {phone: {shared_above: '777'}}}": "identity.kinds.phone.shared_above: expected a whole number",
    "identity: {kinds: {phone: {shared_above: 777777777777}}}": "identity.kinds.phone.shared_above: expected less",
    "identity: {kinds: {phone: {strong: 777}}}": "identity.kinds.phone.strong: expected true or false",
    "identity: {kinds: {phone: {period: 777}}}": "identity.kinds.phone.period: expected a number with s, m, h, d or w",
    "identity: {kinds: {phone: {period: 777y}}}": "identity.kinds.phone.period: expected a number with s, m, h, d or w",
    "identity: {kinds: {phone: 777}}": "identity.kinds.phone: expected a mapping",
    "identity: {kinds: {phone: }}": "identity.kinds.phone: expected a mapping",
    "identity: {known_junk: }": "identity.known_junk: expected a value behind the colon",
    "identity:": "identity: expected a value behind the colon",
    "identity: {blocked: {patterns: {email: 777}}}": "identity.blocked.patterns.email: expected a list",
    "identity: {blocked: {values: [kiosk777]}}": "identity.blocked.values[0]: expected KIND:VALUE",
    "identity: {blocked: {values: [{kind: passport, key: x777}]}}": "identity.blocked.values[0]: expected KIND:VALUE",
    'identity: {blocked: {values: ["email:\\ud800777"]}}': "identity.blocked.values[0]: expected KIND:VALUE",
    "identity:\n  kinds: {phone: {strong: true}, phone: {strong: 777}}": "identity.kinds.phone: expected once",
    "identity: {known_junk: 777}\nidentity: {}": "identity: expected once",
    "identity: {? [777] : 1, ? [777] : 1}": "expected YAML in line 1",
    "identity: [777": "expected YAML in line 1, column 15",
    "identity: 2026-77-77": "expected YAML in UTF-8",
    "[" * 7_777: "expected YAML in UTF-8",
    "x: &a {b: *a}": "x: expected no such key",
    "": "expected a mapping with the section identity",
    "777": "expected a mapping with the section identity",
}


@pytest.mark.parametrize(("text", "mistake"), MISTAKES.items(), ids=MISTAKES.values())
def test_a_mistake_is_told_with_file_and_place(text: str, mistake: str) -> None:
    """And with what was expected, but never with what stands there."""
    with pytest.raises(MisconfiguredError) as raised:
        read(text)
    said = str(raised.value)
    assert re.match(r"\S+sima\.yaml has mistakes:\n", said)
    assert re.search(rf"^  {re.escape(mistake)}", said, re.MULTILINE)
    assert "777" not in said.partition(":")[2]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Nobody has to mend one to learn of the next."""
    file = tmp_path / "mine.yaml"
    file.write_text("identity: {most_identifiers: many, kinds: {phone: {a: 1, b: 2}}}")
    with pytest.raises(MisconfiguredError) as raised:
        read_rules(file)
    assert str(file) in str(raised.value)
    assert len(str(raised.value).splitlines()) == 4
    file.write_bytes(b"identity: \xff")
    with pytest.raises(MisconfiguredError, match="UTF-8"):
        read_rules(file)


def test_a_file_need_not_say_anything_about_identity(tmp_path: Path) -> None:
    """It is asked for only where it is needed."""
    file = tmp_path / "sima.yaml"
    file.write_text("{}")
    assert rules_at_start(file) is None
    with pytest.raises(MisconfiguredError, match="identity: expected this section"):
        read_rules(file)


@pytest.mark.parametrize(
    ("field", "place"),
    [
        ("policy.kinds[1].shared_above", "identity.kinds.email.shared_above"),
        ("policy.kinds[0].kind", "identity.kinds.phone"),
        ("policy.most_identifiers", "identity.most_identifiers"),
        ("policy.blocked_patterns[2].pattern", "identity.blocked.patterns.phone[0]"),
        ("policy.blocked_patterns[1].kind", "identity.blocked.patterns.email"),
        ("policy.blocked_patterns", "identity.blocked.patterns"),
        ("policy.blocked_values[3].value", "identity.blocked.values[3]"),
        ("policy.blocked_values", "identity.blocked.values"),
        ("deciding.reason", "deciding.reason"),
    ],
)
def test_a_field_of_the_request_is_told_as_a_place_in_the_file(field: str, place: str) -> None:
    """Who wrote the file has never seen the request."""
    text = "identity: {kinds: {phone: {}, email: {}}, blocked: {patterns: {email: [a, b], phone: [c]}}}"
    assert place_in_file(field, read(text)) == place


def test_a_file_is_short_where_little_is_said() -> None:
    """What is not said is not written."""
    rules = read("identity: {kinds: {phone: {shared_above: 3, period: 129600s}}, blocked: {}}")
    assert yaml.safe_load(as_yaml(rules)) == {"identity": {"kinds": {"phone": {"shared_above": 3, "period": "36h"}}}}


@given(actor=TEXTS, reason=TEXTS)
def test_who_set_rules_and_why_stands_in_comments_alone(actor: str, reason: str) -> None:
    """Whatever somebody gave as a reason, the file that is shown says the rules and nothing else."""
    version = pb.PolicyVersion(version=1, actor=actor, reason=reason, policy=pb.IdentityPolicy(most_identifiers=7))
    assert read(policy_text(version, version.version)).as_data() == {"most_identifiers": 7}
