"""Files of records, one JSON object a line. A line is written by one system call, so that it outlives SIGKILL."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from robustness.records import Begun, Call, Fault, Seen, Step, Watched

Record = Begun | Step | Call | Watched | Fault
R = TypeVar("R", bound=Record)

_KINDS: dict[str, type[Record]] = {kind.__name__: kind for kind in (Begun, Step, Call, Watched, Fault)}


class Journal:
    """Appends to a file of its own. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)

    def write(self, record: Record) -> None:
        """Appends a record; it is there for good when this returns, unless the machine itself dies."""
        line = json.dumps({"kind": type(record).__name__, **asdict(record)}, separators=(",", ":")) + "\n"
        os.write(self._file, line.encode())

    def close(self) -> None:
        """Lets go of the file."""
        os.close(self._file)


def read(folder: Path, kind: type[R]) -> list[R]:
    """All records of a kind from the journals of a folder."""
    return [record for path in sorted(folder.glob("*.jsonl")) for record in _records(path) if isinstance(record, kind)]


def _records(path: Path) -> Iterator[Record]:
    for line in path.read_text().splitlines(keepends=True):
        # The last line of a process that was killed may be torn: what it told of did not happen to its end.
        if line.endswith("\n"):
            yield _record(json.loads(line))


def _record(fields: dict[str, Any]) -> Record:
    kind = _KINDS[fields.pop("kind")]
    if kind is Call:
        fields["seen"] = tuple(Seen(**each) for each in fields["seen"])
        fields["names"] = tuple(fields["names"])
    return kind(**fields)
