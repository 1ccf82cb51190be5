"""MySQL and MariaDB: row locks, a session for each connection, and writes sent as one message."""

import base64
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pymysql
import sqlalchemy
from pymysql.constants import CLIENT
from sqlalchemy import URL, Connection, Engine, Select, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from taskplane.server.core.clock import monotonic
from taskplane.server.core.task import Task
from taskplane.server.store.dialects import mysql_errors, mysql_sessions
from taskplane.server.store.dialects.dialect import (
    SILENT_SECONDS,
    UNTIL,
    BulkUpdate,
    Dialect,
    ErrorKind,
    StatementBuffer,
    ValueType,
)
from taskplane.server.store.dialects.mysql_sessions import CONNECT_SECONDS, WriterConnection, connector
from taskplane.server.store.dialects.mysql_statements import MySQLStatements, pieces
from taskplane.server.store.ownership import Ownership
from taskplane.server.store.records import TASK_DOCUMENT, task_of, task_row

log = logging.getLogger(__name__)

# How long a statement waits for a row lock of another session. All later transactions wait too.
_LOCK_SECONDS = 1
# The server may have closed a connection that was unused for this long.
_REST_SECONDS = 1.0
# Number of the newest connections to abort at the end: as many as may be closing then.
_MOST_CLOSING = 8
# The database ends a SELECT this long after its reader should have stopped it.
_STOP_LATER_SECONDS = 1.0

_SETTINGS = {
    "charset": "utf8mb4",
    "connect_timeout": CONNECT_SECONDS,
    # Literals in the statement buffer rely on backslash escapes.
    "init_command": (
        "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE', "
        f"innodb_lock_wait_timeout = {_LOCK_SECONDS}"
    ),
}
_OPTIONS: dict[str, Any] = {
    # Every transaction is ended by its owner, so the pool need not roll back once more.
    "pool_reset_on_return": None,
    "isolation_level": "READ COMMITTED",
}
# Types in JSON_TABLE. Texts from it would otherwise have the database's character set.
_TYPES = {
    ValueType.INTEGER: "BIGINT",
    ValueType.REAL: "DOUBLE",
    ValueType.TEXT: "VARCHAR(1000) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    ValueType.TIME: "DATETIME(6)",
    ValueType.BYTES: "LONGTEXT",
}


class MySQL(Dialect):
    """The dialect of MySQL."""

    has_one_lock = False
    mark = "%s"
    lock_unlocked = "FOR UPDATE SKIP LOCKED"
    driver_error = pymysql.Error

    def engine(self, url: URL, connections: int, *, reads_only: bool = False) -> Engine:
        """Return a blocking engine."""
        settings = _SETTINGS | {
            "client_flag": CLIENT.FOUND_ROWS,
            "read_timeout": SILENT_SECONDS,
            "write_timeout": SILENT_SECONDS,
        }
        engine = sqlalchemy.create_engine(url, pool_size=connections, connect_args=settings, **_OPTIONS)
        if reads_only:
            event.listen(engine, "connect", _refuse_writes)
        _ping_after_rest(engine)
        event.listen(engine, "before_cursor_execute", _limit_time, retval=True)
        return engine

    def writing_engine(self, url: URL, ownership: Ownership) -> AsyncEngine:
        """Return an engine with four connections: for two overlapping transactions and two unordered writes."""
        opened: deque[WriterConnection] = deque(maxlen=_MOST_CLOSING)
        settings = _SETTINGS | {
            "client_flag": CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS,
            "async_creator_fn": connector(url, opened, ownership),
        }
        engine = create_async_engine(
            url.set(drivername="mysql+aiomysql"), pool_size=4, connect_args=settings, **_OPTIONS
        )
        _ping_after_rest(engine.sync_engine)

        @event.listens_for(engine.sync_engine, "engine_disposed")
        def abort(_engine: Engine) -> None:
            # The loop may end before a TLS connection has closed. A connection may also still be in use.
            for each in opened:
                each.abort()

        return engine

    def renew_sessions(self, engine: Engine, denied_at: Callable[[], float]) -> None:
        """Replace sessions that began before the last denial, at their next use."""

        @event.listens_for(engine, "connect")
        def note_begin(_connection: Any, record: ConnectionPoolEntry) -> None:
            record.info["began_at"] = monotonic()

        @event.listens_for(engine, "checkout")
        def check(_connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
            # A new session is used once at least, because the pool reconnects only once.
            if "used_at" in record.info and record.info["began_at"] <= denied_at():
                raise DisconnectionError  # the pool makes a new connection

    def kinds(self, error: Exception) -> ErrorKind:
        """Return the meanings of an error by its code."""
        return mysql_errors.kinds(error)

    def buffer(self, connection: Connection) -> StatementBuffer:
        """Return a buffer that sends all statements with COMMIT as one message."""
        return MySQLStatements(connection)

    def update_rows(self, connection: Connection, update: BulkUpdate, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute one statement for all rows, which it gets as a JSON document."""
        statement = _joined_update(update)
        for piece in pieces(map(_row_text, rows), len):
            connection.exec_driver_sql(statement, (f"[{','.join(piece)}]",))

    def read_tasks(self, connection: Connection, query: Select[Any]) -> list[Task]:
        """Return the tasks of a query, each read as one JSON text.

        PyMySQL and SQLAlchemy together take ten times as long over fifty columns as json does over one text.
        """
        query = query.with_only_columns(TASK_DOCUMENT, maintain_column_froms=True)
        return [task_of(task_row(json.loads(text))) for text in connection.scalars(query)]

    def index_hint(self, index: str) -> str:
        """Return FORCE INDEX."""
        return f"FORCE INDEX ({index})"

    def interrupt(self, engine: Engine, connection: Connection) -> None:
        """Kill the query of a connection from another session."""
        driver: Any = connection.connection.driver_connection
        try:
            with engine.connect() as stopper:
                stopper.exec_driver_sql(f"KILL QUERY {driver.thread_id()}")
        except DBAPIError as error:
            # Its time limit still ends it.
            log.warning("a query without a caller was not stopped: %s", error.orig)

    def session_lock(self, connection: Connection) -> str:
        """Return the lock of a writing connection."""
        session: WriterConnection = connection.connection.driver_connection  # type: ignore[assignment]
        return getattr(session, "lock", "")

    def end_sessions(self, connection: Connection, locks: Sequence[str]) -> None:
        """Kill the sessions that hold these locks."""
        mysql_sessions.end_sessions(connection, locks)

    def limited(self, select: str, seconds: float) -> str:
        """Return a SELECT that the database ends after some seconds."""
        return select.replace("SELECT", f"SELECT /*+ MAX_EXECUTION_TIME({round(seconds * 1000)}) */", 1)


class MariaDB(MySQL):
    """The dialect of MariaDB."""

    def limited(self, select: str, seconds: float) -> str:
        """Return a SELECT that the database ends after some seconds."""
        return f"SET STATEMENT max_statement_time = {seconds:.3f} FOR {select}"


def _joined_update(update: BulkUpdate) -> str:
    columns = ", ".join(f"{name} {_TYPES[kind]} PATH '$.{name}'" for name, kind in update.values.items())
    assignments = ", ".join(f"{update.table}.{name} = {value}" for name, value in update.assignments.items())
    for name, kind in update.values.items():
        if kind is ValueType.BYTES:
            assignments = assignments.replace(f"given.{name}", f"FROM_BASE64(given.{name})")
    return (
        f"UPDATE {update.table} JOIN JSON_TABLE(%s, '$[*]' COLUMNS ({columns})) AS given "  # noqa: S608  (names of ours)
        f"ON {update.condition} SET {assignments}"
    )


def _row_text(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=_base64_text)


def _base64_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _limit_time(
    connection: Connection, _cursor: Any, statement: str, parameters: Any, *_context: Any
) -> tuple[str, Any]:
    until = connection.get_execution_options().get(UNTIL)
    if until is None or not statement.startswith("SELECT"):
        return statement, parameters
    seconds = max(0.0, until - monotonic()) + _STOP_LATER_SECONDS
    # Known since the connection was made: an engine's URL does not tell.
    dialect = MariaDB() if connection.dialect.is_mariadb else MySQL()  # type: ignore[attr-defined]
    return dialect.limited(statement, seconds), parameters


def _ping_after_rest(engine: Engine) -> None:
    """Detect a dead resting connection before a transaction needs it. A busy connection costs no extra round trip."""

    @event.listens_for(engine, "checkin")
    def note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("used_at", 0.0) > _REST_SECONDS:
            try:
                connection.ping(reconnect=False)
            except pymysql.Error as error:
                # The pool makes a new connection.
                raise DisconnectionError from error


def _refuse_writes(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SET SESSION TRANSACTION READ ONLY")
    cursor.close()
