"""The take-over of a database by a starting server: a new epoch begins, and the older server's sessions end.

On MySQL and MariaDB a take-over does not wait for an older server, even a server frozen in the middle of a transaction:
its database sessions are killed, which releases their locks.
"""

import logging
import time

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.dialects import dialect_of, kinds_of
from taskplane.server.store.dialects.dialect import ErrorKind
from taskplane.server.store.ownership import Owner, Ownership, become_owner, read_owner, session_locks

log = logging.getLogger(__name__)

# Time limit for a locked owner row. Other starting servers lock the row too.
_PATIENCE_SECONDS = 30.0


class CannotTakeOver(Exception):
    """An older server holds the database's lock; the message names the server and the remedy."""


def take_over(engine: Engine, ownership: Ownership, address: str) -> None:
    """Begin a new epoch owned by this server. Blocks the thread. Raises CannotTakeOver, DBAPIError."""
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with engine.connect() as connection:
            before = read_owner(connection)
            connection.rollback()
            _end_sessions(connection, before)
            try:
                if become_owner(connection, ownership, address, before):
                    connection.commit()
                    ownership.epoch = before.epoch + 1
                    # Sessions opened since the first time have either seen the new epoch, or are ended here.
                    _end_sessions(connection, before)
                    log.info("took over from %s", before if before.epoch else "nobody")
                    return
            except DBAPIError as error:
                kinds = kinds_of(error)
                is_late = ErrorKind.ROW_LOCKED in kinds and time.monotonic() > give_up_at
                if is_late or ErrorKind.DATABASE_LOCKED in kinds:
                    raise CannotTakeOver(_advice(before)) from error
                if ErrorKind.ROW_LOCKED not in kinds:
                    raise
            connection.rollback()


def _end_sessions(connection: Connection, before: Owner) -> None:
    if not before.instance:
        return
    try:
        dialect_of(connection).end_sessions(connection, session_locks(before.instance))
    except DBAPIError as error:
        if ErrorKind.KILL_REFUSED not in kinds_of(error):
            raise
        log.warning(
            "the database sessions of %s cannot be ended (%s): if it is frozen, its row locks stay; "
            "end that process, or let both servers use the same database user",
            before,
            error.orig,
        )
    except DatabaseUnavailable:
        log.warning("the database sessions of %s have not ended yet", before)
    connection.rollback()


def _advice(before: Owner) -> str:
    who = f", perhaps {before}" if before.epoch else ""
    return f"another process{who} holds the database's write lock: if it is frozen or hangs, end it, and start again"
