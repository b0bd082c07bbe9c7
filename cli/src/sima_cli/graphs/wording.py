"""How the terminal and the picture say the same."""

from collections.abc import Sequence

from sima_cli.graphs.folding import Folded, counted, counts
from sima_cli.graphs.model import Decided, Graph

_NAMES = 4


def headline(graph: Graph, folded: Folded) -> str:
    """Say whose graph it is, and how large."""
    members = len(graph.members) + sum(count for _, count in folded.members)
    bind, refused = counts(graph.lines)
    whose = f"Profile {graph.profile_id}" if graph.profile_id else "Nobody's"
    links = f"{counted(bind + folded.bind, 'link')} binding, {refused + folded.refused:,} refused"
    return f"{whose}: {counted(members, 'identifier')}, {links}"


def sides(one: Decided) -> str:
    """Say whom a decision is about."""
    return f"{few(one.names)} | {few(one.others)}"


def few(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more
