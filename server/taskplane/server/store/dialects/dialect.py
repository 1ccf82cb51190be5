"""The interface of a database dialect, named by intent. No other package contains code for a dialect."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, Engine, Select
from sqlalchemy.ext.asyncio import AsyncEngine

from taskplane.server.core.task import Task
from taskplane.server.store.ownership import Ownership

# Execution option of a connection: time at which its SELECT statements must end, by `core.clock.monotonic`.
UNTIL = "taskplane_until"
# A database counts as lost after this time without an answer.
SILENT_SECONDS = 15


class ErrorKind(Flag):
    """Meanings of a driver's error; an error may have several."""

    NONE = 0
    # The key of a new row is taken.
    DUPLICATE = auto()
    # A row is not as the transaction assumed.
    UNEXPECTED = auto()
    # Another transaction held a row lock for too long.
    ROW_LOCKED = auto()
    # Another process held the lock of the whole database for too long.
    DATABASE_LOCKED = auto()
    # The ownership check failed: another server has taken over.
    TAKEN_OVER = auto()
    # The session belongs to another database user, so this user may not end it.
    KILL_REFUSED = auto()
    # The session lacks a right. A new session may have it.
    DENIED = auto()
    # The database rolled the transaction back; the same transaction may succeed later.
    RETRYABLE = auto()
    # The connection broke in the middle of a transaction.
    LOST = auto()
    # The database cannot be reached, or cannot write at all.
    AWAY = auto()
    # The statement exceeded its time limit.
    TOO_LONG = auto()
    # The database refused the statement for another reason that may pass.
    REFUSED = auto()


class ValueType(Enum):
    """Types of the values in a bulk update."""

    INTEGER = "integer"
    REAL = "real"
    # At most 1000 characters.
    TEXT = "text"
    TIME = "time"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class BulkUpdate:
    """An UPDATE of many rows, each with own values.

    In expressions, `given.NAME` stands for the new value NAME, and columns are qualified by the table (`tasks.id`).
    """

    table: str
    values: Mapping[str, ValueType]
    # Expression by column.
    assignments: Mapping[str, str]
    condition: str


class StatementBuffer(ABC):
    """Writes of one transaction, sent in order, with COMMIT at the end. Reads must call `send` before."""

    @abstractmethod
    def insert(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows to a table."""

    @abstractmethod
    def upsert(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], key: str, changed: Sequence[str]
    ) -> None:
        """Add rows, or overwrite the `changed` columns of rows with the same key. Each key may occur only once."""

    @abstractmethod
    def update_tasks(self, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Change columns of tasks. A row is the task's id, the expected revision, and the values."""

    @abstractmethod
    def check_unchanged(self, tasks: Collection[Task]) -> None:
        """Let the transaction fail unless all tasks have the given revisions."""

    @abstractmethod
    def execute(self, statement: str) -> None:
        """Add any statement without result rows."""

    @abstractmethod
    def send(self) -> None:
        """Execute all buffered statements. Raises the error of the first that fails and skips the rest."""

    @abstractmethod
    def commit(self) -> None:
        """Execute all buffered statements and commit. After an error nothing is committed."""


class Dialect(ABC):
    """One kind of database."""

    # Whether a writing transaction locks the whole database. If so, transactions neither overlap nor lock rows.
    has_one_lock: ClassVar[bool]
    # The placeholder of a parameter.
    mark: ClassVar[str]
    # The end of a SELECT to lock its rows and leave out rows locked elsewhere.
    lock_unlocked: ClassVar[str]
    driver_error: ClassVar[type[Exception]]

    @abstractmethod
    def engine(self, url: URL, connections: int, *, reads_only: bool = False) -> Engine:
        """Return a blocking engine. With `reads_only`, the database refuses writes."""

    @abstractmethod
    def writing_engine(self, url: URL, ownership: Ownership) -> AsyncEngine:
        """Return the engine of all writes, for the event loop. Each transaction checks the ownership."""

    @abstractmethod
    def renew_sessions(self, engine: Engine, denied_at: Callable[[], float]) -> None:
        """Replace sessions that began before the last denial: changed rights reach only new sessions."""

    @abstractmethod
    def kinds(self, error: Exception) -> ErrorKind:
        """Return the meanings of an error of the driver."""

    @abstractmethod
    def buffer(self, connection: Connection) -> StatementBuffer:
        """Return an empty statement buffer for a transaction."""

    @abstractmethod
    def update_rows(self, connection: Connection, update: BulkUpdate, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute a bulk update. Rows without a match are ignored."""

    @abstractmethod
    def read_tasks(self, connection: Connection, query: Select[Any]) -> list[Task]:
        """Return the tasks of a query on `tasks`."""

    @abstractmethod
    def index_hint(self, index: str) -> str:
        """Return the text after a table's name to make the database use an index."""

    @abstractmethod
    def interrupt(self, engine: Engine, connection: Connection) -> None:
        """Stop another thread's statement on a connection."""

    @abstractmethod
    def session_lock(self, connection: Connection) -> str:
        """Return the name of the lock by which a writing session is found; empty if the dialect needs none."""

    @abstractmethod
    def end_sessions(self, connection: Connection, locks: Sequence[str]) -> None:
        """End the sessions with these locks, and wait for their end.

        Raises DatabaseUnavailable if a session does not end, and DBAPIError if the user may not end the session.
        """
