"""Meanings of database errors for transactions and their callers."""

from sqlalchemy.exc import DBAPIError

from taskplane.server.core.errors import DatabaseRefused, DatabaseUnavailable, ReadTooLong
from taskplane.server.store.dialects import kinds_of
from taskplane.server.store.dialects.dialect import ErrorKind

_CONTENTION = ErrorKind.RETRYABLE | ErrorKind.ROW_LOCKED


class AlreadyStored(Exception):
    """A new row's key is already taken."""


def is_kind(error: DBAPIError, kinds: ErrorKind) -> bool:
    """Return whether an error has one of some meanings."""
    return bool(kinds_of(error) & kinds)


def is_retryable(error: DBAPIError) -> bool:
    """Return whether the database rolled the transaction back for a reason that may have passed at the next try."""
    return error.connection_invalidated or is_kind(error, ErrorKind.RETRYABLE | ErrorKind.LOST)


def is_retryable_once(error: DBAPIError) -> bool:
    """Return whether a retry that reads and locks everything may succeed; the queue's scan then skips locked rows."""
    return is_kind(error, ErrorKind.DUPLICATE | ErrorKind.UNEXPECTED | ErrorKind.ROW_LOCKED)


def is_outage(error: DBAPIError) -> bool:
    """Return whether the database is away or cannot write at all, rather than this transaction alone."""
    return _is_away(error) and not is_kind(error, _CONTENTION)


def translated(error: DBAPIError) -> Exception:
    """Return AlreadyStored, ReadTooLong, DatabaseUnavailable for a passing reason, or the error itself for a bug."""
    kinds = kinds_of(error)
    if ErrorKind.DUPLICATE in kinds:
        return AlreadyStored()
    if ErrorKind.TOO_LONG in kinds:
        return ReadTooLong()
    if _is_away(error):
        return DatabaseUnavailable()
    return DatabaseRefused() if ErrorKind.REFUSED in kinds else error


def _is_away(error: DBAPIError) -> bool:
    return error.connection_invalidated or is_kind(error, ErrorKind.AWAY | ErrorKind.RETRYABLE)
