"""Check an output of the data processing unit against its input, with other means than the unit.

Every row of the input must be in the output or in the rejects, once, in order, with its values. The libraries for
e-mail addresses and phone numbers must judge every rejected row as bad, and the written ones as good.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import phonenumbers
from email_validator import EmailNotValidError, validate_email

# Rows. The libraries take 50 µs for a row, so only every 20th written row is judged.
WRITTEN_ROWS_PER_JUDGEMENT = 20


class DifferenceError(Exception):
    """The output does not match the input; the message says where."""


@dataclass(frozen=True)
class Report:
    """The counts of a comparison."""

    written: int
    rejected: int
    judged: int

    def __str__(self) -> str:
        return (
            f"{self.written + self.rejected:,} rows = {self.written:,} written + {self.rejected:,} rejected, "
            f"each once and in order; {self.judged:,} of them judged again, with the same verdict"
        )


def count(source: Path, target: Path) -> Report:
    """Compare `target` and its rejects with the CSV file `source`. Raises DifferenceError."""
    header, *rows = _read_source(source)
    rejects = _read_rejects(target.with_name(f"{target.name}.rejects.jsonl"))
    written = {number: row for number, row in enumerate(rows, start=1) if number not in rejects}
    _compare_output(header, list(written.values()), _read_output(target))
    _compare_rejects(dict(enumerate(rows, start=1)), rejects)
    judged = dict(list(written.items())[::WRITTEN_ROWS_PER_JUDGEMENT]) | rejects
    for number, row in judged.items():
        if _is_good(header, row) == (number in rejects):
            place = "rejects" if number in rejects else "output"
            raise DifferenceError(f"row {number} should not be in the {place}: {row}")
    return Report(written=len(written), rejected=len(rejects), judged=len(judged))


def _read_source(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from filter(None, csv.reader(file))


def _read_output(path: Path) -> list[dict[str, str]]:
    text = path.read_text(encoding="utf-8")
    output = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.split("\n")[:-1]]
    return list(output)


def _read_rejects(path: Path) -> dict[int, list[str]]:
    """Return the values of the rejected rows, by row number."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    rejects = {line["row"]: line["values"] for line in lines}
    if list(rejects) != sorted(line["row"] for line in lines):
        raise DifferenceError(f"{path}: its rows are not in order, or one is in it twice")
    return rejects


def _compare_output(header: list[str], rows: list[list[str]], found: list[dict[str, str]]) -> None:
    for position, (row, given) in enumerate(zip(rows, found, strict=False), start=1):
        if list(given.items()) != list(zip(header, row, strict=False)):
            raise DifferenceError(f"object {position} of the output should have {row}, and is {given}")
    if len(rows) != len(found):
        raise DifferenceError(f"the output should have {len(rows):,} objects, and has {len(found):,}")


def _compare_rejects(rows: dict[int, list[str]], rejects: dict[int, list[str]]) -> None:
    for number, values in rejects.items():
        if rows.get(number) != values:
            raise DifferenceError(f"row {number} is rejected as {values}, but in the input it is {rows.get(number)}")


def _is_good(header: list[str], row: list[str]) -> bool:
    fields = {name.strip().lower(): value for name, value in zip(header, row, strict=False)}
    return len(row) == len(header) and _is_email(fields.get("email")) and _is_phone(fields.get("phone"))


def _is_email(value: str | None) -> bool:
    try:
        return value is None or bool(validate_email(value, check_deliverability=False))
    except EmailNotValidError:
        return False


def _is_phone(value: str | None) -> bool:
    try:
        return value is None or phonenumbers.is_valid_number(phonenumbers.parse(value))
    except phonenumbers.NumberParseException:
        return False


def main() -> int:
    """Print the counts and return 0, or the difference and return 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the CSV file")
    parser.add_argument("target", type=Path, help="what the unit made of it")
    given = parser.parse_args()
    try:
        print(count(given.source, given.target))  # noqa: T201 — what it is for
    except (DifferenceError, OSError, ValueError) as problem:  # ValueError: not JSON
        print(f"difference: {problem}", file=sys.stderr)  # noqa: T201 — ditto
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
