"""A table that fits its terminal: optional columns go first, then flexible ones are cut or wrapped."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

# Spaces between two columns.
GAP = 2


@dataclass(frozen=True)
class Column:
    """A column. All widths are in characters.

    `least` is the width down to which a flexible column shrinks; 0 for a column that is never cut. A flexible column is
    cut with an ellipsis, or wraps if `wraps`. An `optional` column is left out of a terminal that is too narrow.
    """

    title: str
    least: int = 0
    wraps: bool = False
    optional: bool = False


class ListTable:
    """Rows under titles. Rich asks it to draw itself for the width of the console."""

    def __init__(self, *columns: Column) -> None:
        self._columns = columns
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: Text | str) -> None:
        """Add a row with a cell for each column."""
        self._rows.append([Text(cell) if isinstance(cell, str) else cell for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = self._fit([self._natural_width(index) for index in range(len(self._columns))], options.max_width)
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP // 2))
        for column, width in zip(self._columns, widths, strict=True):
            if width:
                table.add_column(
                    column.title, width=width, no_wrap=not column.wraps, overflow="fold" if column.wraps else "ellipsis"
                )
        for row in self._rows:
            table.add_row(*(cell for cell, width in zip(row, widths, strict=True) if width))
        yield table

    def _natural_width(self, index: int) -> int:
        return max(len(self._columns[index].title), *(row[index].cell_len for row in self._rows), 0)

    def _fit(self, widths: list[int], room: int) -> list[int]:
        """Return the widths that fit into `room`; 0 for a column that is left out."""
        for index, column in reversed(list(enumerate(self._columns))):
            if column.optional and _total(widths) > room:
                widths[index] = 0
        least = [min(width, column.least or width) for width, column in zip(widths, self._columns, strict=True)]
        while _total(widths) > room and widths != least:
            spare = [width - smallest for width, smallest in zip(widths, least, strict=True)]
            # The widest of the columns that can shrink.
            widest = max((index for index, each in enumerate(spare) if each), key=widths.__getitem__)
            widths[widest] -= 1
        return widths


def _total(widths: Sequence[int]) -> int:
    shown = [width for width in widths if width]
    return sum(shown) + GAP * (len(shown) - 1)
