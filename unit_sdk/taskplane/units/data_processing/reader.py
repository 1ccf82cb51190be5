"""A CSV reader (RFC 4180, as the csv module reads it) that knows the byte where each batch of rows begins."""

import codecs
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

MAX_LINE_BYTES = 1 << 20  # bytes; a longer line is not CSV, and must not fill the memory
MAX_BATCH_BYTES = 4 << 20  # bytes of input; bounds the memory of a batch with any number of rows


class NotCsvError(Exception):
    """The input cannot be read as CSV. The message says where and why."""


class CsvReader:
    """The rows of a CSV file, from any place where a row begins.

    `header` holds the column names. `row` is the number of rows read: rows count from 1, without the header and without
    empty lines, which are skipped. `offset` is the byte where the next row begins.
    """

    def __init__(self, file: BinaryIO, *, delimiter: str = ",", encoding: str = "utf-8") -> None:
        """Read the header of `file`, which must be at its beginning. Raises NotCsvError without a header."""
        self._lines = _Lines(file, encoding)
        self._delimiter = delimiter
        self.row = -1  # the header is row 0
        self._rows = self._read_rows()
        self.header = self._read_header()

    @property
    def offset(self) -> int:
        """The number of bytes read."""
        return self._lines.offset

    def seek(self, offset: int, row: int) -> None:
        """Continue at `offset` after `row` rows, both as reported by a reader of the same content."""
        self._lines.seek(offset)
        self.row = row
        self._rows = self._read_rows()

    def read(self, most_rows: int) -> list[list[str]]:
        """Return the values of at most `most_rows` rows; fewer if rows are long, none at the end of the file.

        Raises NotCsvError, after which the reader cannot be used.
        """
        rows: list[list[str]] = []
        end = self.offset + MAX_BATCH_BYTES
        for values in self._rows:
            rows.append(values)
            if len(rows) == most_rows or self._lines.offset >= end:
                break
        return rows

    def _read_header(self) -> tuple[str, ...]:
        header = tuple(next(self._rows, ()))
        if not header:
            raise NotCsvError("has no header: the file is empty")
        for name in header:
            if header.count(name) > 1:
                raise NotCsvError(f"has two columns of the name {name!r} in its header")
        return header

    def _read_rows(self) -> Iterator[list[str]]:
        self._row_begin = self.offset
        with self._errors_name_the_row():
            # csv.reader reads the lines of one record before it returns the record, so each yield is between two rows.
            for values in csv.reader(self._lines, delimiter=self._delimiter):
                if self._lines.ended:
                    raise csv.Error("a quote is opened and never closed")
                if values:
                    self.row += 1
                    yield values
                self._row_begin = self.offset

    @contextmanager
    def _errors_name_the_row(self) -> Iterator[None]:
        try:
            yield
        except csv.Error as error:
            row = f"row {self.row + 1}" if self.row >= 0 else "the header"
            problem = str(error).partition(" - ")[0]  # the rest is advice to the programmer
            raise NotCsvError(f"{row}, which begins at byte {self._row_begin}: {problem}") from error


class _Lines:
    """The decoded lines of a file.

    `offset` is the end of the last line; `ended` is True after a line beyond the last one was requested.
    """

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._encoding = encoding
        self.ended = False
        self.offset = 0
        if codecs.lookup(encoding).name in {"utf-8", "utf-8-sig"}:
            self._encoding = "utf-8"  # utf-8-sig would strip a mark from every line
            self._skip_byte_order_mark()

    def _skip_byte_order_mark(self) -> None:
        has_mark = self._file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
        self.seek(len(codecs.BOM_UTF8) if has_mark else 0)

    def seek(self, offset: int) -> None:
        self._file.seek(offset)
        self.offset = offset
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_LINE_BYTES + 1)
        if not line:
            self.ended = True
            raise StopIteration
        text = self._decode(line)
        self.offset += len(line)
        return text

    def _decode(self, line: bytes) -> str:
        if b"\0" in line:
            raise NotCsvError(f"is not text: byte {self.offset + line.index(0)} is NUL")
        if len(line) > MAX_LINE_BYTES:
            raise NotCsvError(f"has a line of more than {MAX_LINE_BYTES:,} bytes, which begins at byte {self.offset}")
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError as error:
            at = self.offset + error.start
            raise NotCsvError(f"is not {self._encoding}: byte {at} cannot be decoded ({error.reason})") from None
