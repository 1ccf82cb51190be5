"""The short form of the suite: two runs of a few seconds. `make robustness` is the long form."""

import random
from collections.abc import Sequence
from pathlib import Path

from robustness.cluster import Plan
from robustness.conduct import Outcome, conduct
from robustness.databases import GivenMySQL, SqliteFile
from robustness.run import described

SECONDS = 8.0
# Short faults, so a short run sees many of them.
NETWORK = ("cut_connections", "delay_connections", "stall_connections")
PROCESSES = ("kill_server", "stop_server", "roll_over", "kill_unit", "stop_unit", "drain_unit", "freeze_unit")
FIXED_SEED = "short"


def check(outcome: Outcome, folder: Path) -> None:
    """Check that a run did enough, and nothing wrong."""
    print(described(outcome))  # noqa: T201  pytest shows it if the test fails
    assert not outcome.violations, f"see the logs and journals in {folder}"
    assert outcome.steps > 0
    assert outcome.faults.total() > 0


def run(plan: Plan, seed: str, faults: Sequence[str]) -> None:
    print(f"seed {seed!r}")  # noqa: T201  ditto
    check(conduct(plan, seed, SECONDS, faults), plan.folder)


def test_nothing_is_lost_on_sqlite_with_a_fixed_seed(tmp_path: Path) -> None:
    run(Plan(tmp_path, SqliteFile(tmp_path)), FIXED_SEED, PROCESSES)


def test_nothing_is_lost_on_mysql_with_a_random_seed(tmp_path: Path, fresh_mysql_url: str) -> None:
    seed = str(random.randrange(1_000_000))  # noqa: S311  nothing to guess here
    run(Plan(tmp_path, GivenMySQL(fresh_mysql_url)), seed, (*PROCESSES, *NETWORK))
