"""One class for each dialect: SQLite, MySQL and MariaDB. Code elsewhere asks these functions, never for a name."""

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from taskplane.server.store.dialects.dialect import Dialect, ErrorKind
from taskplane.server.store.dialects.mysql import MariaDB, MySQL
from taskplane.server.store.dialects.sqlite import SQLite

_SQLITE, _MYSQL, _MARIADB = SQLite(), MySQL(), MariaDB()


def dialect_of_url(url: URL) -> Dialect:
    """Return the dialect for making engines. URLs do not tell MariaDB from MySQL, and engines need not know."""
    return _SQLITE if url.get_backend_name() == "sqlite" else _MYSQL


def dialect_of(connection: Connection) -> Dialect:
    """Return the dialect of a connection."""
    dialect = connection.dialect
    if dialect.name == "sqlite":
        return _SQLITE
    return _MARIADB if dialect.is_mariadb else _MYSQL  # type: ignore[attr-defined]  # MySQL's dialect has it


def kinds_of(error: DBAPIError) -> ErrorKind:
    """Return the meanings of a database error."""
    for each in (_SQLITE, _MYSQL):
        if isinstance(error.orig, each.driver_error):
            return each.kinds(error.orig)
    return ErrorKind.NONE
