"""The formats of good rows and of rejected ones."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from json.encoder import encode_basestring
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The text around the rows in a file of JSON objects, and the name of the format."""

    name: str
    opening: str
    between: str
    closing: str
    empty: str

    def join(self, rows: list[str], *, first: bool) -> bytes:
        """Return rows as the continuation of the file; `first`: no row was written before."""
        if not rows:
            return b""
        return ((self.opening if first else self.between) + self.between.join(rows)).encode()

    def end(self, *, empty: bool) -> bytes:
        """Return the end of the file; `empty`: the file has no row."""
        return (self.empty if empty else self.closing).encode()


_ARRAY = Layout("json", opening="[\n ", between=",\n ", closing="\n]\n", empty="[]\n")
_LINES = Layout("jsonl", opening="", between="\n", closing="\n", empty="")


def layout_for(path: Path) -> Layout:
    """Return the format for a path: lines for `.jsonl`, else one array."""
    return _LINES if path.suffix.lower() == ".jsonl" else _ARRAY


def row_encoder(header: tuple[str, ...]) -> Callable[[list[str]], str]:
    """Return a function that encodes a row as a JSON object under the names of `header`, with string values."""
    # Takes a third of the time of json.dumps, which examines each name and each type in every row.
    names = (encode_basestring(name).replace("%", "%%") for name in header)
    template = "{" + ", ".join(f"{name}: %s" for name in names) + "}"
    return lambda values: template % tuple(map(encode_basestring, values))


def rejected_line(row: int, reason: str, values: list[str]) -> bytes:
    """Return the line of the rejects file for one row."""
    return (json.dumps({"row": row, "reason": reason, "values": values}, ensure_ascii=False) + "\n").encode()
