"""Reads the messages of the contract: checked, or every reason why they cannot be taken."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from google.protobuf.timestamp_pb2 import Timestamp
from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime.errors import InvalidIdentifierError, Violations
from sima_runtime.turns import in_turns
from sima_runtime.wire import KeyedIdentifier, keyed_identifier, timestamp_to_micros
from sima_sdk.identifiers import REGION_EXPECTED, IdentifierKinds, identifier_key, is_region

from sima_identity.batch import Sighting
from sima_identity.decisions import Deciding, DecisionKind, Proposal
from sima_identity.places import ID, YEAR_10000
from sima_identity.policy import Policy
from sima_identity.policy_messages import rules_from_proto
from sima_identity.records import Wanted
from sima_identity.rules import Rules

MOST_SETS = 10_000
MOST_IDENTIFIERS = 50
#: Of all sets of a call: more would keep memory and event loop from other calls.
MOST_TOGETHER = 200_000
MOST_KEYS = 1_000
MOST_SOURCE = 200
#: Identifiers of the first side of a decision, pairs of both sides, and characters of its reason.
MOST_NAMED = 1_000
MOST_PAIRS = 10_000
MOST_REASON = 2_000
#: Examples of a preview, if nothing is said and at most; and how small its part of all neighbourhoods may be.
EXAMPLES, MOST_EXAMPLES = 10, 100
MOST_ONE_IN = 1_000_000
#: How far ahead of the server's clock a message may be, in microseconds: two days. Whoever takes messages in refuses
#: what is more than one day ahead, by a clock of its own.
MAX_AHEAD = 2 * 86_400_000_000

_YEAR_1, _NEVER = -62_135_596_800_000_000, 1 << 63
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_NOT_BLANK = "expected a text that is not blank"
_PROFILE_EXPECTED = "expected a profile id: 32 hexadecimal digits"

_Subject = (
    pb.ListProfileChangesRequest | pb.ListDecisionsRequest | pb.GetProfileGraphRequest | pb.ListAffiliationsRequest
)


class RequestReader:
    """Reads the requests of one workspace. Every method raises InvalidFieldsError with all fields that are wrong."""

    def __init__(self, kinds: IdentifierKinds, secret: bytes) -> None:
        """Set up.

        Args:
            kinds: The known kinds of identifiers.
            secret: The workspace's secret.
        """
        self._kinds, self._secret = kinds, secret
        self._open_kinds = frozenset(name for name, kind in kinds.items() if not kind.protected)
        self._account_kinds = frozenset(name for name, kind in kinds.items() if kind.account)
        ranks = {name: kind.rank for name, kind in kinds.items()}
        self._strength: Callable[[KeyedIdentifier], tuple[tuple[bool, int], bytes]] = lambda item: (
            ranks[item.kind],
            item.key,
        )

    async def sightings(self, request: pb.ResolveRequest) -> list[Sighting]:
        """Read what is to be resolved."""
        bad, sets = Violations(), request.sets
        few = sum(len(item.identifiers) for item in sets) <= MOST_TOGETHER
        bad.require(0 < len(sets) <= MOST_SETS, "sets", f"expected 1 to {MOST_SETS} sets")
        bad.require(few, "sets", f"expected sets with at most {MOST_TOGETHER} identifiers together")
        bad.check()
        sightings = [self._sighting(item, number, bad) async for number, item in in_turns(enumerate(sets))]
        bad.check()
        return sightings

    def wanted(self, request: pb.LookupRequest | pb.LookupAsKnownRequest | pb.LookupAsOfRequest) -> list[Wanted]:
        """Read what is to be looked up."""
        bad = Violations()
        if bad.require(0 < len(request.keys) <= MOST_KEYS, "keys", f"expected 1 to {MOST_KEYS} keys"):
            wanted = [
                self._wanted(item, item.default_region, f"keys[{number}].", bad)
                for number, item in enumerate(request.keys)
            ]
        bad.check()
        return wanted

    def as_known(self, request: pb.LookupAsKnownRequest) -> tuple[list[Wanted], int]:
        """Read what is to be looked up in the past, and the moment in microseconds since 1970."""
        known_at = _moment(request.known_at if request.HasField("known_at") else None, "known_at")
        return self.wanted(request), known_at

    def as_of(self, request: pb.LookupAsOfRequest) -> tuple[list[Wanted], int]:
        """Read who is looked up, and the moment of messages in microseconds since 1970."""
        as_of = _moment(request.as_of if request.HasField("as_of") else None, "as_of")
        return self.wanted(request), as_of

    def subject(self, request: _Subject) -> Wanted:
        """Read whose changes, decisions or graph are asked for."""
        bad = Violations()
        wanted = self._wanted(request, request.default_region, "", bad)
        bad.check()
        return wanted

    def split(self, request: pb.SplitRequest) -> tuple[Proposal, Deciding]:
        """Read who is somebody else."""
        bad = Violations()
        named, others = len(request.identifiers), len(request.others)
        bad.require(0 < named <= MOST_NAMED, "identifiers", f"expected 1 to {MOST_NAMED} identifiers")
        bad.require(
            named * others <= MOST_PAIRS, "others", f"expected at most {MOST_PAIRS} pairs of both sides together"
        )
        bad.check()
        region = _region(request.default_region, "", bad)
        keys = self._side(request.identifiers, region, "identifiers", bad)
        apart = self._side(request.others, region, "others", bad)
        proposal = Proposal(DecisionKind.SPLIT, list(keys), list(apart), apart | keys)
        self._check_sort([*request.identifiers, *request.others], "identifiers", bad)
        deciding = _deciding(request.deciding, bad)
        bad.check()
        return proposal, deciding

    def link(
        self, request: pb.NeverLinkRequest | pb.AlwaysLinkRequest, kind: DecisionKind
    ) -> tuple[Proposal, Deciding]:
        """Read which two are one person, or are not."""
        bad = Violations()
        one, other = self._two(request, bad)
        deciding = _deciding(request.deciding, bad)
        bad.check()
        return Proposal(kind, [one], [other], {one: "identifier", other: "other"}), deciding

    def two(self, request: pb.ExplainLinkRequest) -> tuple[bytes, bytes]:
        """Read which two are to be explained."""
        bad = Violations()
        one, other = self._two(request, bad)
        bad.check()
        return one, other

    def withdrawal(self, request: pb.WithdrawDecisionRequest) -> tuple[bytes, Deciding]:
        """Read which decision is to be taken back."""
        bad = Violations()
        known = ID.fullmatch(request.decision_id)
        bad.require(known is not None, "decision_id", "expected the id of a decision: 32 hexadecimal digits")
        deciding = _deciding(request.deciding, bad)
        bad.check()
        return bytes.fromhex(request.decision_id), deciding

    def policy(
        self, request: pb.SetIdentityPolicyRequest | pb.PreviewIdentityPolicyRequest, base: Policy, bad: Violations
    ) -> Rules:
        """Read rules; notes what is wrong with them in `bad`."""
        region = _region(request.default_region, "", bad)
        bad.require(request.HasField("policy"), "policy", "expected a policy")
        return rules_from_proto(request.policy, base, lambda item, path: self._read(item, region, path, bad), bad)

    def preview(self, request: pb.PreviewIdentityPolicyRequest, base: Policy) -> tuple[Rules, int, int]:
        """Read which policy to try out, on every how many-th neighbourhood, and how many examples are wanted."""
        bad = Violations()
        rules = self.policy(request, base, bad)
        bad.require(0 <= request.one_in <= MOST_ONE_IN, "one_in", f"expected 1 to {MOST_ONE_IN}, or nothing")
        bad.require(request.examples >= 0, "examples", "expected no negative number")
        bad.check()
        return rules, request.one_in or 1, min(request.examples or EXAMPLES, MOST_EXAMPLES)

    def new_policy(self, request: pb.SetIdentityPolicyRequest, base: Policy) -> tuple[Rules, Deciding, int | None]:
        """Read which policy is to be set, by whom, and in place of which version."""
        bad = Violations()
        rules, deciding = self.policy(request, base, bad), _deciding(request.deciding, bad)
        bad.require(not deciding.preview, "deciding.preview", "expected none; PreviewIdentityPolicy shows what changes")
        bad.check()
        return rules, deciding, request.expected_version if request.HasField("expected_version") else None

    def erasure(self, request: pb.EraseIdentifiersRequest) -> tuple[list[bytes], bytes | None, Deciding]:
        """Read which identifiers, and whose, are to be erased."""
        bad = Violations()
        few = len(request.identifiers) <= MOST_NAMED
        bad.require(few, "identifiers", f"expected at most {MOST_NAMED} identifiers")
        bad.check()
        named = bool(request.identifiers or request.profile_id)
        bad.require(named, "identifiers", "expected identifiers or a profile id")
        is_id = not request.profile_id or ID.fullmatch(request.profile_id) is not None
        bad.require(is_id, "profile_id", _PROFILE_EXPECTED)
        keys = list(self._side(request.identifiers, _region(request.default_region, "", bad), "identifiers", bad))
        deciding = _deciding(request.deciding, bad)
        bad.require(not deciding.preview, "deciding.preview", "expected none: what is erased cannot be tried out")
        bad.check()
        return keys, bytes.fromhex(request.profile_id) if request.profile_id else None, deciding

    def _two(
        self, request: pb.NeverLinkRequest | pb.AlwaysLinkRequest | pb.ExplainLinkRequest, bad: Violations
    ) -> tuple[bytes, bytes]:
        region = _region(request.default_region, "", bad)
        one = self._identifier(request.identifier, region, "identifier", bad)
        other = self._identifier(request.other, region, "other", bad)
        bad.require(one is None or one != other, "other", "expected another identifier than the first")
        self._check_sort([request.identifier, request.other], "other", bad)
        return one or b"", other or b""

    def _check_sort(self, given: Iterable[Identifier], path: str, bad: Violations) -> None:
        """Note if identifiers of people stand beside such of companies: who belongs to whom is not decided."""
        sorts = {item.kind in self._account_kinds for item in given}
        bad.require(len(sorts) < 2, path, "expected identifiers that are all of people, or all of companies")

    def _side(self, given: Sequence[Identifier], region: str | None, path: str, bad: Violations) -> dict[bytes, str]:
        """Read identifiers; of each its key, and where it stands first."""
        places: dict[bytes, str] = {}
        for number, item in enumerate(given):
            key = self._identifier(item, region, place := f"{path}[{number}]", bad)
            if key is not None:
                places.setdefault(key, place)
        return places

    def _sighting(self, item: pb.IdentifierSet, number: int, bad: Violations) -> Sighting:
        count, source = len(item.identifiers), item.source
        if not 0 < count <= MOST_IDENTIFIERS:
            bad.add(f"sets[{number}].identifiers", f"expected 1 to {MOST_IDENTIFIERS} identifiers")
        if not _is_source(source):
            bad.add(f"sets[{number}].source", f"expected 1 to {MOST_SOURCE} characters, no control characters")
        region = _region(item.default_region, f"sets[{number}].", bad)
        # PostgreSQL cannot store the character; a trace to the message is not worth refusing the evidence.
        message_id = item.message_id.replace("\0", "\ufffd")
        observed_at = _instant(item, number, bad)
        identifiers = self._identifiers(item.identifiers, region, number, bad)
        return Sighting(identifiers, self._people(identifiers), observed_at, source, message_id)

    def _people(self, identifiers: Sequence[KeyedIdentifier]) -> int:
        """How many of identifiers, the strongest first, are those of a person."""
        accounts = self._account_kinds
        if not identifiers or identifiers[-1].kind not in accounts:  # nearly always
            return len(identifiers)
        return sum(one.kind not in accounts for one in identifiers)

    def _identifiers(
        self, given: Sequence[Identifier], region: str | None, number: int, bad: Violations
    ) -> list[KeyedIdentifier]:
        """Each once, the strongest first."""
        try:
            read = [self._keyed(item, region) for item in given]
        except InvalidIdentifierError:
            for index, item in enumerate(given):
                self._identifier(item, region, f"sets[{number}].identifiers[{index}]", bad)
            return []
        if len({item.key for item in read}) < len(read):
            read = list({item.key: item for item in read}.values())
        read.sort(key=self._strength)
        return read

    def _keyed(self, item: Identifier, region: str | None) -> KeyedIdentifier:
        kind, value, key = item.kind, item.value, item.key
        if key and value and kind in self._open_kinds:
            return _verified(self._secret, kind, value, key)
        return keyed_identifier(item, region or "", self._kinds, self._secret)

    def _identifier(self, item: Identifier, region: str | None, path: str, bad: Violations) -> bytes | None:
        """The identifier's key; None after noting what is wrong with it."""
        found = self._read(item, region, path, bad)
        return None if found is None else found.key

    def _read(self, item: Identifier, region: str | None, path: str, bad: Violations) -> KeyedIdentifier | None:
        """The identifier; None after noting what is wrong with it. Without its region, a value is not judged."""
        try:
            return self._keyed(item, region)
        except InvalidIdentifierError as error:
            field = "kind" if item.kind not in self._kinds else "key" if item.key else "value"
            if field != "value" or region is not None:
                bad.add(f"{path}.{field}", str(error))
            return None

    def _wanted(
        self,
        item: pb.LookupKey | _Subject,
        default_region: str,
        path: str,
        bad: Violations,
    ) -> Wanted:
        region = _region(default_region, path, bad)
        match item.WhichOneof("by"):
            case "identifier":
                return Wanted(self._identifier(item.identifier, region, f"{path}identifier", bad), None)
            case "profile_id" if ID.fullmatch(item.profile_id):
                return Wanted(None, bytes.fromhex(item.profile_id))
            case "profile_id":
                bad.add(f"{path}profile_id", _PROFILE_EXPECTED)
            case _:
                bad.add(path.removesuffix(".") or "identifier", "expected an identifier or a profile id")
        return Wanted(None, None)


@lru_cache(
    1 << 16
)  # who is active comes again all the time, and hashing is most of the work; nothing protected is here
def _verified(secret: bytes, kind: str, value: str, key: bytes) -> KeyedIdentifier:
    if identifier_key(secret, kind, value) != key:
        raise InvalidIdentifierError(f"{kind}: expected the key of the value")
    return KeyedIdentifier(kind, value, key)


@lru_cache(4096)  # sources are few and come again all the time
def _is_source(text: str) -> bool:
    return 0 < len(text) <= MOST_SOURCE and not _CONTROL.search(text)


def _deciding(given: pb.Deciding, bad: Violations) -> Deciding:
    """Who decides, and why; notes what is missing."""
    for field in ("actor", "request_id"):
        text = getattr(given, field)
        named = _is_source(text) and not text.isspace()
        bad.require(
            named, f"deciding.{field}", f"{_NOT_BLANK}, at most {MOST_SOURCE} characters, no control characters"
        )
    enough = bool(given.reason.strip()) and len(given.reason) <= MOST_REASON and "\0" not in given.reason
    bad.require(enough, "deciding.reason", f"{_NOT_BLANK}, at most {MOST_REASON} characters, no NUL character")
    return Deciding(given.actor, given.reason, given.request_id, given.preview)


def _region(region: str, path: str, bad: Violations) -> str | None:
    """The region in upper case, or nothing; None after noting that it is none."""
    if not region:
        return ""
    return region.upper() if bad.require(is_region(region), f"{path}default_region", REGION_EXPECTED) else None


def _moment(given: Timestamp | None, field: str) -> int:
    """A moment of the past, in microseconds since 1970."""
    bad = Violations()
    moment = _NEVER if given is None else timestamp_to_micros(given)
    bad.require(_YEAR_1 <= moment < YEAR_10000, field, "expected a time in the years 1 to 9999")
    bad.check()
    return moment


def _instant(item: pb.IdentifierSet, number: int, bad: Violations) -> int:
    """When the set was observed, in microseconds since 1970; 0 after noting that this is missing."""
    at = timestamp_to_micros(item.observed_at) if item.HasField("observed_at") else _NEVER
    if _YEAR_1 <= at <= time.time_ns() // 1_000 + MAX_AHEAD:
        return at
    bad.add(f"sets[{number}].observed_at", "expected a time from the year 1 on, and at most two days ahead of now")
    return 0
