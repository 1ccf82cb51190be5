"""Meanings of the error codes of MySQL and MariaDB."""

from collections import defaultdict

import pymysql

from taskplane.server.store.dialects.dialect import ErrorKind

_CODES = {
    ErrorKind.DUPLICATE: {1062},
    # A subquery with two rows: the check of a task's revision.
    ErrorKind.UNEXPECTED: {1242},
    ErrorKind.ROW_LOCKED: {1205},
    # A number out of range: the check of the ownership.
    ErrorKind.TAKEN_OVER: {1690},
    # "You are not owner of thread".
    ErrorKind.KILL_REFUSED: {1095},
    # A session's rights are fixed at its begin: no right to the database, table, column or action; read-only.
    ErrorKind.DENIED: {1044, 1142, 1143, 1227, 1792},
    # Deadlock, interrupted by an operator.
    ErrorKind.RETRYABLE: {1213, 1317},
    # Gone away, lost: the server rolls the transaction back.
    ErrorKind.LOST: {2006, 2013},
    ErrorKind.AWAY: {
        # Too many connections (of all, of a user), shutting down, offline.
        *(1040, 1203, 1226, 1053, 3032),
        # Read-only server, mode or transaction.
        *(1290, 1836, 1792),
        # Out of disk: files, a table, the storage engine.
        *(3, 1021, 1026, 1030, 1114),
        # Password, host or account refused, or no right to write.
        *(1044, 1045, 1129, 1130, 3118, 1142, 1143, 1227),
        # Cannot connect, gone away, lost.
        *(2002, 2003, 2006, 2013, 2014, 2055),
    },
    # MySQL's code, MariaDB's code.
    ErrorKind.TOO_LONG: {3024, 1969},
}
# The statement is at fault and fails each time: out of sort memory, too many rows to examine, packet or result too
# large, two collations, stack used up, JSON invalid or too deep.
_FAULTY_STATEMENT = frozenset({1038, 1104, 1153, 1301, 1267, 1270, 1271, 1436, 3140, 3141, 3157})

_KINDS: defaultdict[object, ErrorKind] = defaultdict(lambda: ErrorKind.NONE)
for _kind, _codes in _CODES.items():
    for _code in _codes:
        _KINDS[_code] |= _kind


def kinds(error: Exception) -> ErrorKind:
    """Return the meanings of an error of PyMySQL or aiomysql.

    MySQL has hundreds of reasons to refuse a statement for now: an operational error of unknown code counts as one.
    """
    code = error.args[0] if error.args else None
    found = _KINDS.get(code, ErrorKind.NONE)
    if isinstance(error, pymysql.OperationalError) and code not in _FAULTY_STATEMENT:
        found |= ErrorKind.REFUSED
    return found


def is_lost(error: pymysql.Error) -> bool:
    """Return whether the connection is gone."""
    return isinstance(error, pymysql.InterfaceError) or ErrorKind.LOST in kinds(error)
