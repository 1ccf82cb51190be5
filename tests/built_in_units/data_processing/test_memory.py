"""The memory of a task stays small for an input of any size."""

import json
from pathlib import Path
from typing import Any

import pytest
from built_in_units.data_processing.driver import python

MEGABYTE = 1 << 20

MEASURED = """
import json, re, sys
from pathlib import Path
from built_in_units.data_processing.driver import ScriptedTask, run
from taskplane.unit import TaskFailed

try:
    rows = run(ScriptedTask(), json.loads(sys.argv[1]))["rows"]
except TaskFailed as failure:
    rows = str(failure)
# Not ru_maxrss: it begins with what the parent had, which is a large pytest.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps([rows, int(peak[1])]))
"""


def run_and_measure(config: dict[str, Any]) -> tuple[Any, int]:
    """Return the number of rows, or the failure, and the peak memory in bytes."""
    measured = python(MEASURED, json.dumps(config))
    assert measured.returncode == 0
    rows, kilobytes = json.loads(measured.stdout)
    return rows, kilobytes * 1024


@pytest.mark.parametrize(
    ("row", "count"),
    [
        pytest.param(f"a@example.org,{'x' * 8000}\n", 20_000, id="long rows"),
        pytest.param("a@example.org,\n", 200_000, id="many rows"),
    ],
)
def test_a_large_input_takes_little_memory(config: dict[str, Any], source: Path, row: str, count: int) -> None:
    with source.open("w") as file:
        file.write("email,note\n")
        file.writelines(row for _ in range(count))
    large_batches = {"validationRules": ["email"], "batchSize": 100_000, "checkpointInterval": 100_000}
    rows, memory = run_and_measure(config | large_batches)
    assert rows == count
    assert memory < 150 * MEGABYTE


def test_a_line_without_end_takes_little_memory(config: dict[str, Any], source: Path) -> None:
    with source.open("w") as file:
        file.write("email,note\n")
        file.writelines("x" * MEGABYTE for _ in range(200))
    failure, memory = run_and_measure(config | {"validationRules": []})
    assert failure == f"inputPath: {source}: has a line of more than 1,048,576 bytes, which begins at byte 11"
    assert memory < 150 * MEGABYTE
