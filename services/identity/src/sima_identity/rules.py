"""What a workspace says about its policy, as data that is stored: only what differs from the installation's. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

import re2

from sima_identity.policy import Pattern, Policy

# Bytes that an expression made of many may take, at most: with less, RE2 goes on without what makes it fast.
_MOST_MEMORY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KindRules:
    """What is said about a kind of identifiers; None: what the kind itself says.

    Attributes:
        strong: Such an identifier names one person.
        priority: From 1 to 100; where not all evidence can bind, that between the stronger kinds comes first.
        most_per_profile: No profile gets more of them.
        most_per_period: No profile gets more that were seen first within one period. 0: any number.
        period_seconds: How long a period is.
        shared_above: One that was seen with more strong identifiers belongs to nobody alone.
    """

    strong: bool | None = None
    priority: int | None = None
    most_per_profile: int | None = None
    most_per_period: int | None = None
    period_seconds: int | None = None
    shared_above: int | None = None


@dataclass(frozen=True, slots=True)
class BlockedValue:
    """An identifier that names nobody, by its key (in hexadecimal digits); without value if its kind is protected."""

    kind: str
    key: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What a workspace says about its policy.

    Attributes:
        kinds: By name of the kind.
        patterns: By kind, regular expressions (RE2's) for whole normalised values that name nobody.
        values: Identifiers that name nobody.
        known_junk: Whether the built-in list of junk counts. None: as the installation says.
        most_identifiers: Largest profile. None: as the installation says.
    """

    kinds: Mapping[str, KindRules] = field(default_factory=dict)
    patterns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    values: Sequence[BlockedValue] = ()
    known_junk: bool | None = None
    most_identifiers: int | None = None

    def to_json(self) -> str:
        """Return the text that is stored."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)


def rules_from_json(text: str) -> Rules:
    """Return the rules that `Rules.to_json` wrote."""
    stored: dict[str, Any] = json.loads(text)
    stored["kinds"] = {name: KindRules(**said) for name, said in stored["kinds"].items()}
    stored["values"] = [BlockedValue(**value) for value in stored["values"]]
    return Rules(**stored)


def effective(rules: Rules, base: Policy) -> Policy:
    """Return the installation's policy with what a workspace says about it."""
    kinds = dict(base.kinds)
    for name, said in rules.kinds.items():
        if name in kinds:  # its plugin may be gone
            kinds[name] = replace(kinds[name], **_changes(said))
    patterns = dict(base.blocked)
    for name, texts in rules.patterns.items():
        if name in kinds:
            patterns[name] = [*patterns.get(name, ()), *_together(tuple(sorted(set(texts))))]
    return Policy(
        kinds,
        patterns,
        base.most_identifiers if rules.most_identifiers is None else rules.most_identifiers,
        base.blocked_keys.union(bytes.fromhex(value.key) for value in rules.values),
        base.known_junk if rules.known_junk is None else rules.known_junk,
    )


def _changes(said: KindRules) -> dict[str, Any]:
    changes = {item.name: value for item in fields(said) if (value := getattr(said, item.name)) is not None}
    if "most_per_period" in changes:
        changes["most_per_period"] = changes["most_per_period"] or None
    if "period_seconds" in changes:
        changes["period"] = timedelta(seconds=changes.pop("period_seconds"))
    return changes


@lru_cache(1024)
def compiled(text: str) -> Pattern:
    """Return a regular expression, of a kind that takes no more time than the text is long.

    Raises:
        ValueError: It is none.
    """
    try:
        return _expression(text)
    except re2.error:
        raise ValueError("expected a regular expression of RE2") from None


def _expression(text: str, **options: object) -> Pattern:
    given = re2.Options()
    given.log_errors = False  # it would write the expression to the standard error
    for name, value in options.items():
        setattr(given, name, value)
    pattern: Pattern = re2.compile(text, given)
    return pattern


# The same ones again are the same object, by which a preview knows that nothing else is blocked.
@lru_cache(64)
def _together(texts: tuple[str, ...]) -> tuple[Pattern, ...]:
    """Return as few expressions as can be that match what any of some match: a thousand cost little more than one."""
    if len(texts) < 2:
        return tuple(map(compiled, texts))
    try:
        return (_expression("|".join(map(_enclosed, texts)), max_mem=_MOST_MEMORY, never_capture=True),)
    except re2.error:  # together they are too large
        half = len(texts) // 2
        return (*_together(texts[:half]), *_together(texts[half:]))


def _enclosed(text: str) -> str:
    """An expression in brackets, of which one that quotes up to its end must not quote the second."""
    enclosed = f"(?:{text})"
    if r"\Q" in text:
        try:
            compiled(enclosed)
        except ValueError:
            return rf"(?:{text}\E)"
    return enclosed
