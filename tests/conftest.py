"""Databases for the tests, and what the test run itself needs."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from support.alone import AlonePlugin
from support.databases import DATABASES, MigratedDatabases, fresh_database, server_url, sqlite_url

from taskplane.server.core.tuning import DEFAULT_TUNING, Tuning


@pytest.fixture(scope="session")
def migrated_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MigratedDatabases]:
    databases = MigratedDatabases(tmp_path_factory.mktemp("migrated"))
    yield databases
    databases.close()


@pytest.fixture(params=DATABASES)
def database_url(
    request: pytest.FixtureRequest, tmp_path: Path, migrated_databases: MigratedDatabases
) -> Iterator[str]:
    """URL of a database with the schema and without tasks. The test runs once for each kind of database."""
    with migrated_databases.lent(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def sqlite_database_url(tmp_path: Path, migrated_databases: MigratedDatabases) -> Iterator[str]:
    """URL of an SQLite database with the schema and without tasks."""
    with migrated_databases.lent("sqlite", tmp_path) as url:
        yield url


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without the schema. The test runs once for each kind of database."""
    kind: str = request.param
    if kind == "sqlite":
        yield sqlite_url(tmp_path)
        return
    with fresh_database(server_url(kind)) as url:
        yield url


@pytest.fixture
def fresh_mysql_url() -> Iterator[str]:
    """URL of a MySQL database without the schema."""
    with fresh_database(server_url("mysql")) as url:
        yield url


# Tests wait during half of their time, for leases and databases. Each worker takes some 300 MiB with its servers.
WORKERS_FOR_EACH_CORE = 2
MOST_WORKERS = 8


@pytest.fixture
def tuning() -> Tuning:
    """Return the tuned times of the server under test. Modules in which time matters override the fixture."""
    return DEFAULT_TUNING


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers for `-n auto`."""
    return min(WORKERS_FOR_EACH_CORE * (os.cpu_count() or 1), MOST_WORKERS)


# The levels whose files have few tests and take long. They begin first, so that no worker is left with one at the end.
BEGIN_FIRST = ("robustness", "model", "end_to_end", "scripts", "conformance")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parent.name not in BEGIN_FIRST)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist
        config.pluginmanager.register(AlonePlugin())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in captured output: pytest-xdist's workers cannot send them."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections
    ]
    return report
