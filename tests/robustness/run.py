"""Runs the suite for as long as is wanted: `make robustness MINUTES=10`, or `python -m robustness.run --help`."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from robustness.cluster import Plan
from robustness.conduct import Outcome, conduct
from robustness.databases import ClusterDatabase, NewMySQL, OwnMySQL, SqliteFile
from robustness.faults import FAULTS, possible

# Longer runs leave journals too large to read, and more kinds of faults hide the decisive one.
RUN_SECONDS = 25.0
KINDS = 3


def main() -> int:
    """Make runs until the time is up or one fails. Return the exit code."""
    options = _options()
    say(f"seed {options.seed}")
    deadline = time.monotonic() + options.minutes * 60
    kinds = _kinds(options)
    number = 0
    while (left := deadline - time.monotonic()) > 0:
        number += 1
        folder = Path(tempfile.mkdtemp(prefix="taskplane-robustness-"))
        plan = Plan(folder, _database(options.database, folder))
        outcome = conduct(plan, f"{options.seed}/{number}", min(left, RUN_SECONDS), next(kinds))
        say(described(outcome))
        if outcome.violations or outcome.is_too_quiet:
            say(f"run {number} of seed {options.seed} FAILED; logs and journals are in {folder}")
            return 1
        shutil.rmtree(folder)
    return 0


def say(text: str) -> None:
    """Print a line for the person who runs the suite."""
    print(text, flush=True)  # noqa: T201  this is a command


def described(outcome: Outcome) -> str:
    """Return the outcome for people."""
    return "\n".join(
        [
            f"{outcome.transitions} transitions, {outcome.steps} steps",
            f"calls: {_listed(outcome.calls)}",
            f"{outcome.succeeding:.0%} of {outcome.calls.total()} calls succeeded",
            f"faults: {_listed(outcome.faults)}",
            *(["TOO QUIET: too few calls succeeded to prove much"] if outcome.is_too_quiet else []),
            *(f"VIOLATION {each}" for each in outcome.violations),
        ]
    )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _kinds(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """Return the faults of each run: the named ones, or a few at a time, so that each gets its turn."""
    if options.faults is not None:
        while True:
            yield options.faults
    choice, left = random.Random(options.seed), list[str]()  # noqa: S311  it shall be repeatable
    while True:
        if len(left) < KINDS:
            more = possible(_database(options.database, Path()))
            choice.shuffle(more)
            left += [name for name in more if name not in left]
        yield left[:KINDS]
        del left[:KINDS]


def _database(kind: str, folder: Path) -> ClusterDatabase:
    match kind:
        case "mysql":
            return OwnMySQL(folder)
        case "sqlite":
            return SqliteFile(folder)
        case url:
            return NewMySQL(url)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))  # noqa: S311  nothing to guess here
    parser.add_argument("--database", default="mysql", help="mysql (a server of its own), sqlite, or a server's URL")
    parser.add_argument("--faults", nargs="*", choices=[*FAULTS], help="only these; default: a few in turn")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
