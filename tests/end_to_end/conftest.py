"""A cluster of processes for each test, and a CSV with the output of an uninterrupted run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from end_to_end.cluster import Cluster

ROWS = 40_000
# Every n-th row has an invalid e-mail address.
BAD_EVERY = 97


@contextmanager
def running_cluster(folder: Path, database_url: str) -> Iterator[Cluster]:
    cluster = Cluster(folder, database_url)
    try:
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Return a cluster over SQLite, without processes yet. Its processes end after the test."""
    with running_cluster(tmp_path, f"sqlite:///{tmp_path / 'taskplane.db'}") as cluster:
        yield cluster


@pytest.fixture
def any_cluster(tmp_path: Path, empty_database_url: str) -> Iterator[Cluster]:
    """Return a cluster over each kind of database."""
    with running_cluster(tmp_path, empty_database_url) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a CSV of users, large enough for interruptions."""
    path = tmp_path_factory.mktemp("input") / "users.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("id,name,email,phone\n")
        for number in range(1, ROWS + 1):
            email = "nobody" if number % BAD_EVERY == 0 else f"user{number}@example.com"
            file.write(f"{number},Jürgen {number},{email},+49 30 9018 {number % 10_000:04}\n")
    return path


@pytest.fixture
def config(users: Path) -> dict[str, Any]:
    """Return a task that writes users.json into the cluster's folder."""
    return {
        "inputPath": str(users),
        "outputPath": "users.json",
        "batchSize": 100,
        "validationRules": ["email", "phone"],
        "checkpointInterval": 1000,
    }


@pytest.fixture(scope="session")
def uninterrupted(users: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the output of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    config = {"inputPath": str(users), "outputPath": "users.json", "validationRules": ["email", "phone"]}
    with running_cluster(folder, f"sqlite:///{folder / 'taskplane.db'}") as cluster:
        cluster.serve()
        cluster.run_unit()
        cluster.wait_for(cluster.process_csv(config), "SUCCESS")
        return (folder / "users.json").read_bytes()
