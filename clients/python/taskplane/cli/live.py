"""A watch as a live screen: a line for each task, with bar, rate and time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from taskplane.cli.board import Board, Row
from taskplane.cli.formatting import duration_in_words, now, percent_of
from taskplane.cli.tables import plain, state_text
from taskplane.v1.task_pb2 import TASK_STATUS_FAILED, TASK_STATUS_SUCCESS
from taskplane.v1.task_service_pb2 import WatchTasksResponse

# A terminal narrower than the third figure, such as one of 80 columns, gets the second width of bar and name.
BAR_COLUMNS, SHORT_BAR_COLUMNS, WIDE_CONSOLE_COLUMNS = 24, 12, 110
NAME_COLUMNS, SHORT_NAME_COLUMNS = 30, 18
# Widths of columns whose text changes, so that the columns after them stay in place.
PERCENT_COLUMNS, PACE_COLUMNS, ELAPSED_COLUMNS = 4, 17, 6
REDRAWS_PER_SECOND = 4

Show = Callable[[WatchTasksResponse, Row | None], None]


@contextmanager
def live_screen(board: Board, console: Console) -> Iterator[Show]:
    """Redraw the board until the context ends, and leave the last picture; yields the callback for each event."""
    is_wide = console.width >= WIDE_CONSOLE_COLUMNS

    def show(event: WatchTasksResponse, row: Row | None) -> None:
        if board.watches_all and row is not None and row.is_over:
            console.print(board_table([row], is_wide=is_wide))  # above the live screen, from which the row vanishes
        if event.HasField("transition"):
            live.refresh()

    # Redraws run on Rich's thread, so they take a copy of the rows.
    with Live(
        console=console,
        get_renderable=lambda: board_table(list(board.rows.values()), is_wide=is_wide),
        refresh_per_second=REDRAWS_PER_SECOND,
    ) as live:
        yield show


def board_table(rows: list[Row], *, is_wide: bool) -> Table:
    """Return a line for each row; without room, the unit's message is cut."""
    bar_columns = BAR_COLUMNS if is_wide else SHORT_BAR_COLUMNS
    name_columns = NAME_COLUMNS if is_wide else SHORT_NAME_COLUMNS
    table = Table.grid(padding=(0, 1))
    for min_width in (0, 0, 0, PERCENT_COLUMNS, PACE_COLUMNS, ELAPSED_COLUMNS):
        table.add_column(no_wrap=True, min_width=min_width)
    table.add_column(ratio=1)
    for row in rows:
        table.add_row(
            _name(row, name_columns),
            state_text(row.task),
            ProgressBar(total=1.0, completed=_fraction(row), width=bar_columns),
            f"{percent_of(row.task):>{PERCENT_COLUMNS}}",
            _pace(row),
            _elapsed(row),
            _message(row),
        )
    return table


def _name(row: Row, columns: int) -> Text:
    name = plain(f"{row.task.id} {row.task.task_name}")
    name.truncate(columns, overflow="ellipsis")
    return name


def _fraction(row: Row) -> float:
    return 1.0 if row.task.status == TASK_STATUS_SUCCESS else row.task.progress.fraction


def _pace(row: Row) -> str:
    """Return the rate and the time left; empty while they are unknown."""
    rate, left = row.rate(), row.seconds_left()
    if rate is None or left is None:
        return ""
    return f"{rate:.1%}/s ETA {duration_in_words(left)}"


def _elapsed(row: Row) -> str:
    """Return the time since the first attempt began, until the end or now."""
    if not row.task.HasField("started_at"):
        return ""
    end = row.task.completed_at.ToDatetime(UTC) if row.task.HasField("completed_at") else now()
    return duration_in_words((end - row.task.started_at.ToDatetime(UTC)).total_seconds())


def _message(row: Row) -> Text:
    """Return the unit's last message, or the reason for waiting or failing."""
    task = row.task
    message = plain(
        task.error_message if task.status == TASK_STATUS_FAILED else task.waiting_message or task.progress.message
    )
    message.no_wrap, message.overflow = True, "ellipsis"
    return message
