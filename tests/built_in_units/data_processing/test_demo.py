"""The demo's CSV and its independent count, which checks the unit from outside."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from built_in_units.data_processing.driver import ScriptedTask, run

DEMO = Path(__file__).parents[3] / "demo"


def demo(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 — a program of this repository
        [sys.executable, DEMO / program, *arguments], capture_output=True, text=True, check=False
    )


def make_users(path: Path) -> None:
    assert demo("make_users_csv.py", "--rows", "3000", path).returncode == 0


@pytest.fixture
def users(config: dict[str, Any], source: Path) -> dict[str, Any]:
    """Return the config of a task over the demo's users."""
    make_users(source)
    return config | {"batchSize": 1000}


def test_the_csv_is_always_the_same_and_has_a_few_bad_rows(users: dict[str, Any], source: Path, tmp_path: Path) -> None:
    make_users(tmp_path / "again.csv")
    assert source.read_bytes() == (tmp_path / "again.csv").read_bytes()
    with source.open(newline="") as file:
        assert len(list(csv.reader(file))) == 3001
    assert 30 < run(ScriptedTask(), users)["rejected"] < 90


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_the_count_confirms_a_right_output(users: dict[str, Any], source: Path, tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"users.{ending}"
    result = run(ScriptedTask(), users | {"outputPath": str(target)})
    counted = demo("independent_count.py", source, target)
    assert counted.stderr == ""
    assert f"3,000 rows = {result['written']:,} written + {result['rejected']:,} rejected" in counted.stdout


def drop_a_row(lines: list[str]) -> None:
    del lines[500]


def repeat_a_row(lines: list[str]) -> None:
    lines.insert(500, lines[500])


def swap_rows(lines: list[str]) -> None:
    lines[500], lines[501] = lines[501], lines[500]


def change_a_value(lines: list[str]) -> None:
    lines[500] = lines[500].replace("@", "@x")


@pytest.mark.parametrize("spoil", [drop_a_row, repeat_a_row, swap_rows, change_a_value])
def test_the_count_finds_what_is_wrong(
    users: dict[str, Any], source: Path, target: Path, spoil: Callable[[list[str]], None]
) -> None:
    run(ScriptedTask(), users)
    lines = target.read_text().splitlines(keepends=True)
    spoil(lines)
    target.write_text("".join(lines))
    counted = demo("independent_count.py", source, target)
    assert counted.returncode == 1
    assert "difference: object 50" in counted.stderr


def test_the_count_finds_a_wrong_verdict(users: dict[str, Any], source: Path, target: Path) -> None:
    source.write_text("email,phone\nnobody,+49 30 901820\n")
    run(ScriptedTask(), users | {"validationRules": ["phone"]})
    counted = demo("independent_count.py", source, target)
    assert counted.returncode == 1
    assert "row 1 should not be in the output" in counted.stderr
