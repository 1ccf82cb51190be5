"""The CSV reader, and the offsets of rows."""

import codecs
import csv
import io
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskplane.units.data_processing import reader
from taskplane.units.data_processing.reader import CsvReader, NotCsvError

Quoting = Literal[0, 1]  # csv.QUOTE_MINIMAL, csv.QUOTE_ALL

# Every character except surrogates (not in UTF-8) and NUL (refused); important ones come more often.
FIELD = st.text(st.sampled_from('a,;"\r\n\té王😀\ufeff ') | st.characters(exclude_characters="\0", codec="utf-8"))
TABLE = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(FIELD, min_size=width, max_size=width), max_size=8))


def rows_one_by_one(rows: CsvReader) -> list[list[str]]:
    return [values for batch in iter(lambda: rows.read(1), []) for values in batch]


def written(table: list[list[str]], quoting: Quoting, line_end: str, *, mark: bool = False) -> tuple[bytes, list[int]]:
    """Return the bytes of a CSV file, and the offset of each row."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, lineterminator=line_end)
    offsets = []
    prefix = codecs.BOM_UTF8 if mark else b""
    for values in table:
        offsets.append(len(prefix + text.getvalue().encode()))
        writer.writerow(values)
    return prefix + text.getvalue().encode(), offsets


@given(table=TABLE, quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), mark=st.booleans())
def test_every_row_is_read_back_and_reading_can_go_on_at_each(
    *, table: list[list[str]], quoting: Quoting, mark: bool
) -> None:
    header = [f"column {n}" for n in range(len(table[0]) if table else 1)]
    content, offsets = written([header, *table], quoting, "\r\n", mark=mark)
    rows = CsvReader(io.BytesIO(content))
    assert rows.header == tuple(header)
    for number, values in enumerate(table, start=1):
        assert (rows.row, rows.offset) == (number - 1, offsets[number])
        assert rows.read(1) == [values]
    assert rows.read(1) == []
    assert rows.offset == len(content)
    for number, offset in enumerate(offsets[1:]):
        rows.seek(offset, number)
        assert rows_one_by_one(rows) == table[number:]
        assert rows.row == len(table)


@given(TABLE, st.integers(1, 5))
def test_the_size_of_batches_does_not_matter(table: list[list[str]], size: int) -> None:
    content, _ = written([["h"] * 1, *table], csv.QUOTE_ALL, "\n")
    rows = CsvReader(io.BytesIO(content))
    batches = list(iter(lambda: rows.read(size), []))
    assert [values for batch in batches for values in batch] == table
    assert all(len(batch) == size for batch in batches[:-1])


def test_empty_lines_are_no_rows() -> None:
    rows = CsvReader(io.BytesIO(b"\r\na,b\n\n1,2\n\n\n3,4\n\n"))
    assert rows.header == ("a", "b")
    assert rows.read(10) == [["1", "2"], ["3", "4"]]
    assert rows.row == 2


def test_the_last_line_needs_no_end() -> None:
    assert CsvReader(io.BytesIO(b"a\n1\n2")).read(10) == [["1"], ["2"]]


def test_other_delimiters_and_encodings() -> None:
    rows = CsvReader(io.BytesIO("名;b\n李,娜;2\n".encode("gb18030")), delimiter=";", encoding="gb18030")
    assert rows.header == ("名", "b")
    assert rows.read(10) == [["李,娜", "2"]]


def test_a_batch_ends_when_it_holds_enough_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_BATCH_BYTES", 10)
    rows = CsvReader(io.BytesIO(b"a\n" + b"123\n" * 5))
    assert [len(batch) for batch in iter(lambda: rows.read(100), [])] == [3, 2]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "has no header: the file is empty"),
        (b"\n\r\n", "has no header: the file is empty"),
        (codecs.BOM_UTF8, "has no header: the file is empty"),
        (b"a,b,a\n", "has two columns of the name 'a' in its header"),
        (b"a,b\n1,\x00\n", "is not text: byte 6 is NUL"),
        (b"a\n1\n\xc3\xa9\xff\n", "is not utf-8: byte 6 cannot be decoded (invalid start byte)"),
        (b'a\n1\n"2\n3\n', "row 2, which begins at byte 4: a quote is opened and never closed"),
        (b'"a\n1\n', "the header, which begins at byte 0: a quote is opened and never closed"),
        (b"a\n1\n2\r3\n", "row 2, which begins at byte 4: new-line character seen in unquoted field"),
        (b"a\n1\n" + b"x" * 200_000, "row 2, which begins at byte 4: field larger than field limit (131072)"),
        (b'a\n1\n"' + b"x\n" * 200_000, "row 2, which begins at byte 4: field larger than field limit (131072)"),
        (b"a\n" + b"x," * (1 << 20), "has a line of more than 1,048,576 bytes, which begins at byte 2"),
    ],
)
def test_what_is_not_csv_is_told_with_the_place(content: bytes, problem: str) -> None:
    with pytest.raises(NotCsvError) as failure:
        rows_one_by_one(CsvReader(io.BytesIO(content)))
    assert str(failure.value) == problem


def test_a_picture_is_not_csv(tmp_path: Path) -> None:
    path = tmp_path / "picture.csv"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    with path.open("rb") as file, pytest.raises(NotCsvError, match="byte 0 cannot be decoded"):
        CsvReader(file)
