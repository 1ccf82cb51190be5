"""A watch as a live screen: a line for each task, with its bar, rate and time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from taskplane.cli.board import Board, Row
from taskplane.cli.tables import plain, state_text
from taskplane.cli.words import duration_in_words, now, percent_of
from taskplane.v1.task_pb2 import TASK_STATUS_FAILED, TASK_STATUS_SUCCESS
from taskplane.v1.task_service_pb2 import WatchTasksResponse

NAME_COLUMNS = 30
# A terminal of 80 columns has room for a short bar only.
BAR_COLUMNS, SHORT_BAR_COLUMNS, WIDE_CONSOLE_COLUMNS = 24, 12, 110
# Wide enough that what stands behind does not jump when they change.
PERCENT_COLUMNS, PACE_COLUMNS, ELAPSED_COLUMNS = 4, 17, 6
REDRAWS_PER_SECOND = 4

Show = Callable[[WatchTasksResponse, Row | None], None]


@contextmanager
def live_screen(board: Board, console: Console) -> Iterator[Show]:
    """Draws the board over and over, and leaves the last picture; gives what is to be called after each event."""
    bar_columns = BAR_COLUMNS if console.width >= WIDE_CONSOLE_COLUMNS else SHORT_BAR_COLUMNS

    def show(event: WatchTasksResponse, row: Row | None) -> None:
        if board.watches_all and row is not None and row.is_over:
            console.print(board_table([row], bar_columns))  # above the screen, from which it vanishes
        if event.HasField("transition"):
            live.refresh()

    # Redraws run on a thread of their own, so they take a copy of the rows.
    with Live(
        console=console,
        get_renderable=lambda: board_table(list(board.rows.values()), bar_columns),
        refresh_per_second=REDRAWS_PER_SECOND,
    ) as live:
        yield show


def board_table(rows: list[Row], bar_columns: int) -> Table:
    """A line for each row; where there is no room, the unit's words are cut."""
    table = Table.grid(padding=(0, 1))
    for min_width in (0, 0, 0, PERCENT_COLUMNS, PACE_COLUMNS, ELAPSED_COLUMNS):
        table.add_column(no_wrap=True, min_width=min_width)
    table.add_column(ratio=1)
    for row in rows:
        table.add_row(
            _name(row),
            state_text(row.task),
            ProgressBar(total=1.0, completed=_fraction(row), width=bar_columns),
            f"{percent_of(row.task):>{PERCENT_COLUMNS}}",
            _pace(row),
            _elapsed(row),
            _words(row),
        )
    return table


def _name(row: Row) -> Text:
    name = plain(f"{row.task.id} {row.task.task_name}")
    name.truncate(NAME_COLUMNS, overflow="ellipsis")
    return name


def _fraction(row: Row) -> float:
    return 1.0 if row.task.status == TASK_STATUS_SUCCESS else row.task.progress.fraction


def _pace(row: Row) -> str:
    """How quickly it goes on, and when it will be done; empty while nobody can know."""
    rate, left = row.rate(), row.seconds_left()
    if rate is None or left is None:
        return ""
    return f"{rate:.1%}/s ETA {duration_in_words(left)}"


def _elapsed(row: Row) -> str:
    """Since its first attempt began, until it ended or now."""
    if not row.task.HasField("started_at"):
        return ""
    end = row.task.completed_at.ToDatetime(UTC) if row.task.HasField("completed_at") else now()
    return duration_in_words((end - row.task.started_at.ToDatetime(UTC)).total_seconds())


def _words(row: Row) -> Text:
    """What the unit said last, or why the task waits or failed."""
    task = row.task
    words = plain(
        task.error_message if task.status == TASK_STATUS_FAILED else task.waiting_message or task.progress.message
    )
    words.no_wrap, words.overflow = True, "ellipsis"
    return words
