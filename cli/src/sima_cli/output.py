"""How things look on a terminal: tables, the card of a profile, a rule with its mistakes."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.markup import escape
from rich.panel import Panel
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text
from sima.profile.v1.profile_service_pb2 import Profile, SourcedValue, Trait
from sima.segment.v1.segment_service_pb2 import RuleProblem

from sima_cli import shapes
from sima_cli.tables import Fitting

_Item = TypeVar("_Item")

_LOST_SHOWN = 4
_UNWRAPPED = 10_000
_CARD_WIDTH = 120  # at most, also where nothing else is wrapped
# Joiners and marks of Arabic, Persian and emoji that are not printable by themselves.
_HARMLESS = "\u200c\u200d\u200e\u200f"
_AGES = ((365, "year"), (30, "month"), (7, "week"), (1, "day"))


def console(stderr: bool = False) -> Console:
    """Return a console that wraps for a terminal alone: elsewhere paths and lines of logs stay whole."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = _UNWRAPPED
    return made


#: For what was asked for.
out = console()
#: For progress and explanations, so that what was asked for can be piped on.
err = console(stderr=True)


def step(text: str) -> None:
    """Tell people what is being done."""
    err.print(f"[dim]●[/] {escape(text)} …")


@contextmanager
def counting(title: str) -> Iterator[Callable[[Mapping[str, int]], None]]:
    """Show counts while they grow; gives the function that takes them."""
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=err, transient=True) as progress:
        title = harmless(title)
        task = progress.add_task(title, total=None)

        def show(counts: Mapping[str, int]) -> None:
            said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
            progress.update(task, description=f"{title}  {said}")

        yield show


def print_json(value: object) -> None:
    """Print one JSON value on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Fitting:
    """Return a table; columns whose name begins with `#` hold numbers."""
    cells = (tuple(Text(visible(cell)) if isinstance(cell, str) else cell for cell in row) for row in rows)
    return Fitting(title, tuple(columns), tuple(cells))


def first(found: list[_Item], limit: int) -> list[_Item]:
    """Return the first so many of a list of which one more was asked for, and say if there are more."""
    if len(found) > limit:
        err.print("[dim]There are more; --limit shows them.[/]")
    return found[:limit]


def visible(text: str) -> str:
    """Return a text in which signs that would steer a terminal, or turn the direction of what follows, are escaped."""
    return "".join(sign if sign.isprintable() or sign in _HARMLESS else f"\\u{ord(sign):04x}" for sign in text)


def harmless(text: str) -> str:
    """Return what somebody else wrote, of several lines perhaps, for printing: it neither steers nor marks up."""
    return escape("\n".join(map(visible, text.split("\n"))))


def age(moment: datetime, now: datetime | None = None) -> str:
    """Return how long ago something was, as people say it."""
    passed = (now or datetime.now(UTC)) - moment
    if passed < timedelta(minutes=1):
        return "just now"
    if passed < timedelta(hours=1):
        return _ago(int(passed.total_seconds() // 60), "minute")
    if passed < timedelta(days=1):
        return _ago(int(passed.total_seconds() // 3600), "hour")
    days, unit = next((days, unit) for days, unit in _AGES if passed.days >= days)
    return _ago(passed.days // days, unit)


def _ago(count: int, unit: str) -> str:
    return f"{count} {unit}{'' if count == 1 else 's'} ago"


def profile_card(profile: Profile, segments: Sequence[str] = ()) -> RenderableType:
    """Return a profile as a card: each trait with source, method and age, and below it the values that lost."""
    parts: list[RenderableType] = [_identifiers(profile), _traits(profile.traits)]
    if profile.consents:
        parts.append(_consents(profile))
    if segments:
        parts.append(Text("in segments  ", style="dim").append(" · ".join(segments), style="bold magenta"))
    parts.append(_seen(profile))
    card = Panel(Group(*parts), title=Text(_headline(profile), style="bold"), box=ROUNDED, expand=False)
    return Constrain(card, _CARD_WIDTH)


def _headline(profile: Profile) -> str:
    chosen = {trait.trait: trait.values[0].value.text for trait in profile.traits if trait.values}
    name = " ".join(filter(None, (chosen.get("first_name"), chosen.get("last_name"))))
    return visible(name) or profile.profile_id


def _identifiers(profile: Profile) -> Text:
    text = Text("known as  ", style="dim")
    for position, one in enumerate(profile.identifiers):
        text.append(" · " if position else "", style="dim")
        text.append(f"{one.kind} ", style="cyan").append(visible(one.value) or one.key.hex(), style="default")
    return text


def _traits(traits: Iterable[Trait]) -> Table:
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("trait", style="cyan", no_wrap=True)
    made.add_column("value", overflow="fold")
    for column in ("source", "method", "age"):
        made.add_column(column, no_wrap=True)
    for trait in traits:
        name = Text(f"{trait.trait} ⚠" if trait.contradiction else trait.trait)
        for position, chosen in enumerate(trait.values):
            made.add_row(name if position == 0 else "", Text(_shown(chosen), style="bold"), *_origin(chosen))
        for lost in trait.alternatives[:_LOST_SHOWN]:
            made.add_row("", Text(f"╰ {_shown(lost)}"), *_origin(lost), style="dim")
        if len(trait.alternatives) > _LOST_SHOWN:
            made.add_row("", f"╰ and {len(trait.alternatives) - _LOST_SHOWN} more", style="dim")
    return made


def _origin(one: SourcedValue) -> tuple[str, str, str]:
    return one.source, shapes.method(one), age(shapes.instant(one.observed_at))


def _shown(one: SourcedValue) -> str:
    value = shapes.value(one.value)
    return f"{value:.15g}" if isinstance(value, float) else visible(str(value))


def _consents(profile: Profile) -> Text:
    text = Text("consents  ", style="dim")
    for one in profile.consents:
        mark, style = ("✓ ", "green") if shapes.granted(one) else ("✗ ", "red")
        text.append(mark + one.purpose, style=style)
        text.append(f" ({one.source}, {age(shapes.instant(one.stated_at))})  ", style="dim")
    return text


def _seen(profile: Profile) -> Text:
    text = Text(f"{profile.event_count} event{'' if profile.event_count == 1 else 's'}", style="dim")
    if profile.HasField("first_seen_at"):
        text.append(f" · first seen {age(shapes.instant(profile.first_seen_at))}")
        text.append(f" · last seen {age(shapes.instant(profile.last_seen_at))}")
    return text.append(f" · profile {profile.profile_id}")


def rule_problems(rule: str, problems: Iterable[RuleProblem]) -> str:
    """Return a rule with a caret under each mistake, what was expected, and what was probably meant."""
    lines = rule.splitlines() or [""]
    parts = []
    for problem in problems:
        line = lines[min(max(problem.line, 1), len(lines)) - 1]
        before = visible(line[: max(problem.column, 1) - 1])
        parts.append(f"  {visible(line)}\n  {' ' * _width(before)}^ {problem.message}")
        if problem.suggestion:
            parts.append(f"  Perhaps: {problem.suggestion}")
    return "\n".join(parts)


def _width(text: str) -> int:
    return Text(text).cell_len
