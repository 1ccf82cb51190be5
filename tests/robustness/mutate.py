"""Runs the suite against each mutant: `make mutants`, or `python -m robustness.mutate NAME…`."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from robustness.cluster import MUTATED_PATH, TESTS
from robustness.mutants import MUTANTS, MYSQL, Edit, Mutant
from robustness.run import say

PROJECT = TESTS.parent
# Parts that are mutated: the server and the SDK. The suite itself imports the project's own.
SOURCE_ROOTS = ("server", "unit_sdk")
MINUTES = 3.0
# The fixed seed; a mutant must not need luck.
SEED = 7
_MYSQL_VARIABLE = "TASKPLANE_TEST_MYSQL_URL"


class Caught(NamedTuple):
    """Seconds until a mutant was caught, and the invariant that caught it; None if it was not."""

    seconds: float
    by: str | None


class StaleMutant(Exception):
    """The text to change does not occur in its file exactly once."""


def mutated(text: str, edit: Edit) -> str:
    """Return the text of a file, changed. Raises StaleMutant."""
    if text.count(edit.old) != 1:
        raise StaleMutant(f"{edit.file} has {text.count(edit.old)} times: {edit.old!r}")
    return text.replace(edit.old, edit.new)


def make(mutant: Mutant, folder: Path) -> str:
    """Make a mutated copy of the source roots in a folder. Return the Python path of the copy."""
    for root in SOURCE_ROOTS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / root, folder / root, ignore=ignored)
    for edit in mutant.edits:
        path = folder / edit.file
        path.write_text(mutated(path.read_text(), edit))
    return os.pathsep.join(str(folder / root) for root in SOURCE_ROOTS)


def catch(mutant: Mutant, minutes: float, seed: int) -> Caught:
    """Run the suite against a mutant until it fails or the time is up."""
    with tempfile.TemporaryDirectory(prefix="taskplane-mutant-") as folder:
        env = os.environ | {MUTATED_PATH: make(mutant, Path(folder)), "PYTHONPATH": str(TESTS)}
        database = os.environ.get(_MYSQL_VARIABLE, MYSQL) if mutant.database == MYSQL else mutant.database
        command = [
            *(sys.executable, "-m", "robustness.run", "--minutes", str(minutes), "--seed", str(seed)),
            *("--database", database, "--faults", *mutant.faults),
        ]
        began = time.monotonic()
        done = subprocess.run(command, env=env, cwd=folder, check=False, capture_output=True, text=True)  # noqa: S603
        seconds = time.monotonic() - began
    log = Path(tempfile.gettempdir()) / f"mutant-{mutant.name}.log"
    log.write_text(done.stdout + done.stderr)
    return Caught(seconds, _invariants(done.stdout) or "a crash" if done.returncode else None)


def _invariants(text: str) -> str:
    """Return the violated invariants, most frequent first."""
    found = Counter(re.findall(r"^VIOLATION ([^:]*)", text, re.MULTILINE))
    return ", ".join(name for name, _ in found.most_common(3))


def main() -> int:
    """Print a row for each mutant. Returns how many were not caught."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these; default: all")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if mutant.name in (options.names or [mutant.name])]
    missed = 0
    say("| mutant | what is wrong | faults | caught after | by |\n| --- | --- | --- | --- | --- |")
    for mutant in chosen:
        caught = catch(mutant, options.minutes, options.seed)
        missed += caught.by is None
        faults = ", ".join(mutant.faults) or "none"
        when = "not caught" if caught.by is None else f"{caught.seconds:.0f} s"
        say(f"| {mutant.name} | {mutant.what} | {mutant.database}: {faults} | {when} | {caught.by or ''} |")
    return missed


if __name__ == "__main__":
    sys.exit(main())
