"""Databases for the tests. Each fixture gives an empty database of its own; nothing has a schema yet."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import URL, make_url

SERVER_VARIABLES = {"mysql": "TASKPLANE_TEST_MYSQL_URL", "mariadb": "TASKPLANE_TEST_MARIADB_URL"}

# MariaDB is tested where there is one; a missing MySQL is told by `mysql_url`.
SERVERS = ["mysql", *(["mariadb"] if os.environ.get(SERVER_VARIABLES["mariadb"]) else [])]
DATABASES = ["sqlite", *SERVERS]


@pytest.fixture(scope="session")
def mysql_url() -> str:
    """URL of a MySQL server, whose user may create databases. Without one: skips on a laptop, fails in CI.

    `make test` starts a server, or fails before pytest begins.
    """
    return server_url("mysql")


@pytest.fixture
def fresh_mysql_url(mysql_url: str) -> Iterator[str]:
    """URL of an empty MySQL database, dropped after the test."""
    with fresh_database(mysql_url) as url:
        yield url


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database: the test runs once for each kind of database that there is."""
    kind: str = request.param
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'taskplane.db'}"
        return
    with fresh_database(server_url(kind)) as url:
        yield url


def server_url(kind: str) -> str:
    variable = SERVER_VARIABLES[kind]
    url = os.environ.get(variable)
    if url:
        return make_url(url).set(drivername="mysql+pymysql").render_as_string(hide_password=False)
    if os.environ.get("CI") == "true":
        pytest.fail(f"{variable} is not set: CI tests every database")
    pytest.skip(f"{variable} is not set: `make test` starts a server by itself")


@contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """Creates a database on the server of `url`, gives its URL, and drops it."""
    server = make_url(url)
    name = f"test_{uuid.uuid4().hex}"
    execute(server, f"CREATE DATABASE `{name}`")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        execute(server, f"DROP DATABASE `{name}`")


def execute(server: URL, statement: str) -> None:
    connection = pymysql.connect(
        host=server.host or "127.0.0.1",
        port=server.port or 3306,
        user=server.username,
        password=server.password or "",
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
