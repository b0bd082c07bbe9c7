"""Tables that cut nothing off: where the words of a row do not fit side by side, they stand one below the other."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_BETWEEN = 3  # cells between two columns; before the first there is one


@dataclass(frozen=True, slots=True)
class Fitting:
    """A table that knows how wide it is only when it is printed.

    Attributes:
        title: What stands above it; empty for none.
        columns: Their names; those that begin with `#` hold numbers.
        rows: The cells of each row.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the title, and the rows as a table if every word fits on its line."""
        if self.title:
            yield Text(self.title, style="bold")
        measured = [self._measured(number, console, options) for number in range(len(self.columns))]
        least, most = [each.minimum for each in measured], [each.maximum for each in measured]
        room = options.max_width - _BETWEEN * (len(self.columns) - 1) - 1
        if sum(least) <= room:
            yield Padding(self._table(widths(least, most, room)), (1, 0, 1, 1), expand=False)
        else:
            yield from self._blocks()

    def _measured(self, number: int, console: Console, options: ConsoleOptions) -> Measurement:
        """The longest word of a column, and its longest line."""
        cells = [Text(self._names[number]), *(row[number] for row in self.rows)]
        found = [cell.__rich_measure__(console, options) for cell in cells]
        return Measurement(max(one.minimum for one in found), max(one.maximum for one in found))

    @property
    def _names(self) -> list[str]:
        return [column.removeprefix("#") for column in self.columns]

    def _table(self, widths_: Iterable[int]) -> Table:
        made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for column, name, width in zip(self.columns, self._names, widths_, strict=True):
            made.add_column(name, justify="right" if column.startswith("#") else "left", width=width, overflow="fold")
        for row in self.rows:
            made.add_row(*row)
        return made

    def _blocks(self) -> Iterator[RenderableType]:
        """Yield what stands in each row, line by line behind the names of its columns."""
        for row in self.rows:
            block = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
            block.add_column(style="dim", no_wrap=True, width=max(map(len, self._names)))
            block.add_column(overflow="fold")
            for name, cell in zip(self._names, row, strict=True):
                if cell.plain:
                    block.add_row(name, cell)
            yield Text()
            yield block


def widths(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """Return how wide columns are: as wide as their longest words, and what room is left is shared out.

    Args:
        least: Of each, what it needs; together no more than there is room.
        most: Of each, with what it needs no more.
        room: Of all together.
    """
    found, spare = list(least), room - sum(least)
    modest_first = sorted(range(len(least)), key=lambda number: most[number] - least[number])
    for turn, number in enumerate(modest_first):
        more = min(most[number] - least[number], spare // (len(least) - turn))
        found[number] += more
        spare -= more
    return found
