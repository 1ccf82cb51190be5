"""How good rows and rejected ones are written."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from json.encoder import encode_basestring
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """What stands around the rows of a file of JSON objects, and what such a file is called."""

    name: str
    opening: str
    between: str
    closing: str
    empty: str

    def join(self, rows: list[str], *, first: bool) -> bytes:
        """Return `rows` as they follow what was written before; `first`: nothing was."""
        if not rows:
            return b""
        return ((self.opening if first else self.between) + self.between.join(rows)).encode()

    def end(self, *, empty: bool) -> bytes:
        """Return what ends the file; `empty`: it has no row."""
        return (self.empty if empty else self.closing).encode()


_ARRAY = Layout("json", opening="[\n ", between=",\n ", closing="\n]\n", empty="[]\n")
_LINES = Layout("jsonl", opening="", between="\n", closing="\n", empty="")


def layout_for(path: Path) -> Layout:
    """Return the layout that the ending of `path` asks for: `.jsonl` a line for each row, `.json` or none an array."""
    return _LINES if path.suffix.lower() == ".jsonl" else _ARRAY


def row_encoder(header: tuple[str, ...]) -> Callable[[list[str]], str]:
    """Return what writes a row's values as a JSON object under the names of `header`; every value is a string."""
    # A third of the time of json.dumps, which would look at every name and every type again in each row.
    names = (encode_basestring(name).replace("%", "%%") for name in header)
    template = "{" + ", ".join(f"{name}: %s" for name in names) + "}"
    return lambda values: template % tuple(map(encode_basestring, values))


def rejected_line(row: int, reason: str, values: list[str]) -> bytes:
    """Return the line that tells why a row was rejected."""
    return (json.dumps({"row": row, "reason": reason, "values": values}, ensure_ascii=False) + "\n").encode()
