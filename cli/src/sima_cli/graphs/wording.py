"""How the terminal and the picture say the same."""

from collections.abc import Sequence

from sima_sdk.identifiers import BUILT_IN_KINDS

from sima_cli.graphs.folding import Folded, counted, counts
from sima_cli.graphs.model import Decided, Graph, Node, Standing

_NAMES = 4


def headline(graph: Graph, folded: Folded) -> str:
    """Say whose graph it is, and how large."""
    members = len(graph.members) + sum(count for _, count in folded.members)
    bind, refused = counts(graph.lines)
    whose = f"Profile {graph.profile_id}" if graph.profile_id else "Nobody's"
    links = f"{counted(bind + folded.bind, 'link')} binding, {refused + folded.refused:,} refused"
    return f"{whose}: {counted(members, 'identifier')}, {links}"


def whose(graph: Graph) -> str:
    """Say what the identifiers of the profile are together."""
    if not graph.profile_id:
        return "Nobody's"
    if all(node.standing is Standing.SHARED for node in graph.members):
        return "Shared, so nobody's alone"
    return "One company" if any(_is_account(node) for node in graph.members) else "One person"


def _is_account(node: Node) -> bool:
    return node.kind in BUILT_IN_KINDS and BUILT_IN_KINDS[node.kind].account


def sides(one: Decided) -> str:
    """Say whom a decision is about."""
    return f"{few(one.names)} | {few(one.others)}"


def few(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    shown = len(names) if len(names) <= _NAMES + 1 else _NAMES  # to say that there is one more takes as much room
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
