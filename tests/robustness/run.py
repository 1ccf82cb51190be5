"""Runs the suite for as long as is wanted: `make robustness MINUTES=10`, or `python -m robustness.run --help`."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from robustness.cluster import Plan
from robustness.conduct import Outcome, conduct
from robustness.databases import ClusterDatabase, GivenMySQL, OwnMySQL, SqliteFile
from robustness.faults import FAULTS

# A run is over before its journals are too large to be looked at.
RUN_SECONDS = 60.0


def main() -> int:
    """Makes runs until the time is up or one fails. Returns the exit code."""
    options = _options()
    say(f"seed {options.seed}")
    deadline = time.monotonic() + options.minutes * 60
    number = 0
    while (left := deadline - time.monotonic()) > 0:
        number += 1
        folder = Path(tempfile.mkdtemp(prefix="taskplane-robustness-"))
        plan = Plan(folder, _database(options.database, folder))
        outcome = conduct(plan, f"{options.seed}/{number}", min(left, RUN_SECONDS), options.faults)
        say(described(outcome))
        if outcome.violations:
            say(f"run {number} of seed {options.seed} FAILED; logs and journals are in {folder}")
            return 1
        shutil.rmtree(folder)
    return 0


def say(text: str) -> None:
    """Tells whoever runs the suite."""
    print(text, flush=True)  # noqa: T201  this is a command


def described(outcome: Outcome) -> str:
    """The outcome for people."""
    return "\n".join(
        [
            f"{outcome.transitions} transitions, {outcome.steps} steps",
            f"calls: {_listed(outcome.calls)}",
            f"faults: {_listed(outcome.faults)}",
            *(f"VIOLATION {each}" for each in outcome.violations),
        ]
    )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _database(kind: str, folder: Path) -> ClusterDatabase:
    match kind:
        case "mysql":
            return OwnMySQL(folder)
        case "sqlite":
            return SqliteFile(folder)
        case url:
            return GivenMySQL(url)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))  # noqa: S311  nothing to guess here
    parser.add_argument("--database", default="mysql", help="mysql (a server of its own), sqlite, or a URL")
    parser.add_argument("--faults", nargs="*", choices=[*FAULTS], help="only these; default: all that are possible")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
