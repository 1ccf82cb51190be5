"""The cluster of tests/end_to_end, with the example unit."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from end_to_end.cluster import Cluster
from end_to_end.conftest import cluster
from end_to_end.processes import Process

__all__ = ["cluster"]

RAW_UNIT = Path(__file__).parents[2] / "examples" / "raw_unit.py"


@pytest.fixture
def run_raw_unit(cluster: Cluster) -> Callable[[], Process]:
    """Start the example unit, always under the same id."""

    def run() -> Process:
        return cluster.start("raw unit", [sys.executable, RAW_UNIT, cluster.address, "counter-1"])

    return run


@pytest.fixture
def count(cluster: Cluster) -> Callable[..., int]:
    """Create and start a counting task. Return its id."""

    def count(to: int, step_seconds: float, **options: Any) -> int:
        config: dict[str, object] = {"to": to, "step_seconds": step_seconds}
        return cluster.client.create_task("RAW_COUNT", "count", config, start=True, **options).id

    return count
