"""The report as people read it: what arrived, who they are, one of them, the segments, the truth, the last purchase."""

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from sima_cli.output import profile_card, table
from sima_cli.report.feeds import RELATIONS
from sima_cli.report.findings import Findings

_WIDEST_RULE = 120
_HEADINGS = {"events": "#events", "observations": "#traits", "consents": "#consents"}


def show(findings: Findings, console: Console) -> None:
    """Print the report."""
    width = min(console.width, _WIDEST_RULE)
    for title, part in _parts(findings):
        console.print(Rule(title, align="left", style="cyan"), width=width)
        console.print(Padding(part, (0, 2), expand=False))
    console.print(Rule(style="cyan"), width=width)


def _parts(findings: Findings) -> Iterator[tuple[str, RenderableType]]:
    yield "What the channels said", _facts(findings)
    yield "Who they are", _people(findings)
    yield "One of them", profile_card(*findings.portrait)
    yield "Segments", _segments(findings)
    yield "Compared with the truth, which only this report may read", _truth(findings)
    yield "And then one more purchase", _live(findings)


def _facts(findings: Findings) -> RenderableType:
    rows: list[Sequence[str | Text]] = [
        (source, *(f"{counts.get(relation, 0):,}" for relation in RELATIONS))
        for source, counts in sorted(findings.facts.items())
    ]
    together = [Text(f"{findings.stored(name):,}", style="bold") for name in RELATIONS]
    rows += [[""] * (1 + len(together)), (Text("together", style="bold"), *together)]
    more = (
        f"{findings.outcomes.get('duplicates', 0):,} arrived once more and changed nothing; "
        f"{findings.outcomes.get('refused', 0):,} parts were refused and kept with their reason"
    )
    return Group(table("", ("channel", *_HEADINGS.values()), rows), Text(more, style="dim italic"))


def _people(findings: Findings) -> RenderableType:
    return (
        Text(f"{findings.identifiers:,}", style="bold")
        .append(" identifiers  ━▶  ", style="not bold")
        .append(f"{findings.people:,}", style="bold green")
        .append(" people", style="not bold")
        .append(f"   ({findings.merges:,} profiles turned out to be part of another)", style="not bold dim")
    )


def _segments(findings: Findings) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="magenta", no_wrap=True)
    grid.add_column(justify="right", style="bold")
    grid.add_column(style="dim", overflow="fold")
    for segment in findings.segments:
        grid.add_row(segment.name, f"{segment.size:,}", Text(f"{segment.description}\n{segment.rule}"))
    return grid


def _truth(findings: Findings) -> RenderableType:
    accuracy = findings.accuracy
    good = accuracy.precision == 1.0
    return (
        Text(f"{accuracy.pairs:,} pairs of identifiers are one person's: ")
        .append(f"precision {_exact(accuracy.precision)}", style="bold green" if good else "bold red")
        .append(f", recall {_exact(accuracy.recall)}", style="bold")
        .append("\nNobody was mistaken for somebody else." if good else "\nSome people were put together wrongly.")
    )


def _exact(share: float) -> str:
    """Return a share with four digits, and never 1 unless it is."""
    return "1.0" if share == 1.0 else f"{min(share, 0.9999):.4f}"


def _live(findings: Findings) -> RenderableType:
    live = findings.live
    return (
        Text(live.name, style="bold")
        .append(f" pays {live.amount} at {live.source}, by webhook", style="not bold")
        .append("  ━▶  ")
        .append(f"{live.milliseconds:,.0f} ms", style="bold green")
        .append(" later ", style="not bold")
        .append(f"WatchMemberships says: entered {live.segment}", style="magenta")
        .append(f"\n{findings.stored_facts:,} facts, {findings.seconds:.1f} seconds in all", style="not bold dim")
    )
