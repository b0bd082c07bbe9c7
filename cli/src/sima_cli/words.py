"""What `--json` says in codes, in words for people."""

_REFUSALS = {
    "blocked": "junk",
    "hub": "seen with too many",
    "never_link": "decided to be apart",
    "several_people": "leads to several people",
    "kind_limit": "too many of one kind",
    "period_limit": "too many within a short time",
    "size_limit": "too many for one person",
    "pending": "still to be looked at",
}
_DECISIONS = {"never_link": "never", "always_link": "always"}


def refused(code: str) -> str:
    """Return why a link does not bind, or an identifier is shared."""
    return _REFUSALS.get(code, code)


def decided(code: str) -> str:
    """Return what kind of decision it is, by the name of its command."""
    return _DECISIONS.get(code, code)
