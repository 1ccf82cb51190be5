"""The output folder of a data processing task."""

import json
from pathlib import Path

from end_to_end.conftest import BAD_EVERY, ROWS

GOOD = [number for number in range(1, ROWS + 1) if number % BAD_EVERY]
BAD = [number for number in range(1, ROWS + 1) if number % BAD_EVERY == 0]


def assert_complete(folder: Path, uninterrupted: bytes) -> None:
    """Check that each row is present once, in order, and the output equals an uninterrupted run's."""
    output = folder / "users.json"
    assert [int(row["id"]) for row in json.loads(output.read_bytes())] == GOOD
    assert output.read_bytes() == uninterrupted
    rejects = (folder / "users.json.rejects.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["row"] for line in rejects] == BAD
    assert part_files(folder) == []


def part_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.part"))
