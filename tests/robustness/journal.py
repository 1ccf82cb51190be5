"""Files of records, one JSON object per line. A line is written by one system call, so it survives SIGKILL."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from robustness.records import (
    Acked,
    Begun,
    Call,
    Ended,
    Fault,
    Heard,
    Lie,
    Obeyed,
    Refused,
    Seen,
    Snapshot,
    Step,
    Watched,
)

Record = Acked | Begun | Call | Ended | Fault | Heard | Lie | Obeyed | Refused | Snapshot | Step | Watched
R = TypeVar("R", bound=Record)

_KINDS: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (Acked, Begun, Call, Ended, Fault, Heard, Lie, Obeyed, Refused, Snapshot, Step, Watched)
}


class Journal:
    """Appends to its own file. Threads may share a journal."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)

    def write(self, record: Record) -> None:
        """Append a record. After the return, only a failure of the machine can lose the record."""
        line = json.dumps({"kind": type(record).__name__} | {"of": asdict(record)}, separators=(",", ":")) + "\n"
        os.write(self._file, line.encode())

    def close(self) -> None:
        """Lets go of the file."""
        os.close(self._file)


class Reader:
    """Return the records of a folder's journals, or of some of them."""

    def __init__(self, folder: Path, paths: Iterable[Path] | None = None) -> None:
        paths = sorted(folder.glob("*.jsonl")) if paths is None else paths
        self._records = [record for path in paths for record in _records(path)]

    def all(self, kind: type[R]) -> list[R]:
        """All records of a kind."""
        return [record for record in self._records if isinstance(record, kind)]


def _records(path: Path) -> Iterator[Record]:
    for line in path.read_text().splitlines(keepends=True):
        # The last line of a killed process may be torn: its action did not complete.
        if line.endswith("\n"):
            document = json.loads(line)
            yield _record(document["kind"], document["of"])


def _record(name: str, fields: dict[str, Any]) -> Record:
    kind = _KINDS[name]
    if kind is Call:
        fields["seen"] = tuple(Seen(**each) for each in fields["seen"])
        fields["names"] = tuple(fields["names"])
        fields["tasks"] = tuple(fields["tasks"])
    return kind(**fields)
