"""What the errors of the database's drivers mean."""

import pymysql
from sqlalchemy.exc import DBAPIError, OperationalError

from taskplane.server.core.errors import DatabaseRefused, DatabaseUnavailable, ReadTooLong

# MySQL: deadlock, interrupted by an operator. The same transaction may be tried again.
_RETRYABLE_MYSQL_ERRORS = frozenset({1213, 1317})
# A lock was not had in time. Another try begins with what is not locked of the backlog, so one may do.
_LOCKED_MYSQL_ERROR = 1205
_DUPLICATE_MYSQL_ERROR = 1062
# A subquery with two rows, which is what the checks of task_updates fail with.
_UNEXPECTED_MYSQL_ERROR = 1242
# A number out of range, which is what the check of the ownership fails with.
_TAKEN_OVER_MYSQL_ERROR = 1690
# "You are not owner of thread": the session is another user's.
_KILL_REFUSED_MYSQL_ERROR = 1095
# Lost in the middle of a transaction, which is then undone: 2006 gone away, 2013 lost.
_LOST_MYSQL_ERRORS = frozenset({2006, 2013})
# Too many connections (of all, of a user), shutting down, offline; read only (the server, its mode, the transaction);
# out of disk (of files, of a table, of the storage engine); not let in (password, host, account), or not allowed to
# write; cannot connect, gone away, lost.
_AWAY_MYSQL_ERRORS = frozenset(
    {
        *(1040, 1203, 1226, 1053, 3032),
        *(1290, 1836, 1792),
        *(3, 1021, 1026, 1030, 1114),
        *(1044, 1045, 1129, 1130, 3118, 1142, 1143, 1227),
        *(2002, 2003, 2006, 2013, 2014, 2055),
    }
)
# What a session may do is settled when it begins, so it may fail until its end: no right to the database, a table, a
# column or an action; read-only transactions.
_DENIED_MYSQL_ERRORS = frozenset({1044, 1142, 1143, 1227, 1792})
# A statement has taken longer than it may: MySQL, MariaDB.
_TOO_LONG_MYSQL_ERRORS = frozenset({3024, 1969})
# The statement itself is at fault and would fail each time: out of sort memory, too many rows to look at, a packet or
# a result too large, texts of two collations, the stack used up, JSON that is none or too deep.
_OWN_MYSQL_ERRORS = frozenset({1038, 1104, 1153, 1301, 1267, 1270, 1271, 1436, 3140, 3141, 3157})
_AWAY_SQLITE_SIGNS = ("is locked", "disk I/O error", "unable to open", "is full", "readonly")


class AlreadyStored(Exception):
    """A row that was to be new is there."""


def is_lost(error: pymysql.Error) -> bool:
    """Whether the connection is gone."""
    return isinstance(error, pymysql.InterfaceError) or error.args[0] in _LOST_MYSQL_ERRORS


def is_duplicate(error: DBAPIError) -> bool:
    """Whether a row was refused since its key is taken."""
    return _code(error) == _DUPLICATE_MYSQL_ERROR or "UNIQUE constraint" in str(error.orig)


def is_unexpected(error: DBAPIError) -> bool:
    """Whether a row was not as it was taken to be."""
    return _code(error) == _UNEXPECTED_MYSQL_ERROR


def is_locked(error: DBAPIError) -> bool:
    """Whether somebody has held a lock on a row for too long."""
    return _code(error) == _LOCKED_MYSQL_ERROR


def is_sqlite_locked(error: DBAPIError) -> bool:
    """Whether another process has held the lock of a SQLite database for too long."""
    return "is locked" in str(error.orig)


def is_taken_over(error: DBAPIError) -> bool:
    """Whether the check of the ownership has failed: another server has taken over."""
    return _code(error) == _TAKEN_OVER_MYSQL_ERROR or "integer overflow" in str(error.orig)


def is_kill_refused(error: DBAPIError) -> bool:
    """Whether a session may not be ended, since it is another user's."""
    return _code(error) == _KILL_REFUSED_MYSQL_ERROR


def is_denied(error: DBAPIError) -> bool:
    """Whether the session may not do it, which a new session perhaps may."""
    return _code(error) in _DENIED_MYSQL_ERRORS


def is_contention(error: DBAPIError) -> bool:
    """Whether only this transaction could not be done, since another one or an operator was in its way."""
    return _code(error) in _RETRYABLE_MYSQL_ERRORS | {_LOCKED_MYSQL_ERROR}


def may_be_tried_again(error: DBAPIError) -> bool:
    """Whether the database has undone the transaction for a reason that may be over the next time."""
    return error.connection_invalidated or _code(error) in _RETRYABLE_MYSQL_ERRORS | _LOST_MYSQL_ERRORS


def is_outage(error: DBAPIError) -> bool:
    """Whether the database is away or cannot write at all, and it is not only this transaction that cannot be done."""
    return _is_away(error) and not is_contention(error)


def translated(error: DBAPIError) -> Exception:
    """AlreadyStored, ReadTooLong, DatabaseUnavailable for what waiting can mend, or the error if the mistake is ours.

    MySQL has hundreds of reasons for which it cannot do something now; what is not known to be another is one of them.
    """
    if is_duplicate(error):
        return AlreadyStored()
    if _code(error) in _TOO_LONG_MYSQL_ERRORS:
        return ReadTooLong()
    if _is_away(error):
        return DatabaseUnavailable()
    is_refused = isinstance(error, OperationalError) and isinstance(error.orig, pymysql.Error)
    if is_refused and _code(error) not in _OWN_MYSQL_ERRORS:
        return DatabaseRefused()
    return error


def _is_away(error: DBAPIError) -> bool:
    if error.connection_invalidated or _code(error) in _AWAY_MYSQL_ERRORS | _RETRYABLE_MYSQL_ERRORS:
        return True
    return any(sign in str(error.orig) for sign in _AWAY_SQLITE_SIGNS)


def _code(error: DBAPIError) -> object:
    return error.orig.args[0] if error.orig and error.orig.args else None
